"""`structure embed`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from structure.cli.choices import choice
from structure.cli.flags import takes_flags
from structure.cli.using import DataArgument, PlannedUsingFlags

LAYOUTS, SIDES = ("file", "clip-retrieval"), ("images", "text")


@dataclass(frozen=True, kw_only=True)
class EmbedFlags(PlannedUsingFlags):
    """What to embed, and into which file."""

    data: DataArgument
    out: Annotated[Path, typer.Option(help="A file that ends in .parquet, .npy or .safetensors; else a new folder.")]
    of: Annotated[str, typer.Option("--of", help="images, or text: captions.")] = "images"
    format: Annotated[str, typer.Option("--format", help="file, or clip-retrieval: a folder that it indexes.")] = "file"


@takes_flags
def embed(flags: EmbedFlags) -> None:
    """Write aligned embeddings with their ids, for other programs; nothing is encoded that is in the store.

    Example: structure embed photos --out photos.parquet
    """
    of, layout = choice("--of", flags.of, SIDES), choice("--format", flags.format, LAYOUTS)
    from structure.pipeline.stages.embed import EmbedRequest, plan, run

    terminal = flags.terminal()
    request = EmbedRequest(flags.data, out=flags.out, of=of, format=layout, aligner=flags.aligner, split=flags.split)
    done = flags.done(terminal, request, run, plan)
    if done is None:
        return
    if flags.as_json:
        terminal.document(done.to_json())
    else:
        terminal.say(
            f"{done.out}: {done.rows:,} embeddings of width {done.dim} of the {done.of} of {done.dataset}, by "
            f"{done.aligner}, in {done.seconds:.1f} s."
        )
