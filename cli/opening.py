"""`structure open`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from structure.cli import completion
from structure.cli.flags import StoreFlags, TrustFlags, takes_flags


@dataclass(frozen=True, kw_only=True)
class OpenFlags(TrustFlags, StoreFlags):
    """Which bundle, and what it is called here."""

    bundle: Annotated[Path, typer.Argument(help="A folder written by structure export --bundle.")]
    name: Annotated[
        str | None,
        typer.Option("--as", help="Name of its aligner in the store; its own by default.", show_default=False),
    ] = None
    vision: Annotated[
        str | None,
        typer.Option(help="Name of its vision encoder here.", autocompletion=completion.models, show_default=False),
    ] = None
    text: Annotated[
        str | None,
        typer.Option(help="Name of its text encoder here.", autocompletion=completion.models, show_default=False),
    ] = None
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of another aligner of that name, with its results.")
    ] = False
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "cpu"


@takes_flags
def open_bundle(flags: OpenFlags) -> None:
    """Add a bundle to the store, if it gives the same answers here as where it was made; else say what differs.

    Example: structure open icons-bundle --as icons
    """
    from structure.pipeline.stages.open_bundle import open_bundle as run

    terminal = flags.terminal()
    opened = run(
        flags.bundle,
        vision=flags.vision,
        text=flags.text,
        device=flags.device,
        trust_remote_code=flags.trust_remote_code,
    )
    done = opened.add_to(flags.store, name=flags.name, replace=flags.replace)
    if flags.as_json:
        terminal.document(done.to_json())
        return
    for note in done.notes:
        terminal.say(note)
    largest = max(done.largest_difference.values())
    terminal.say(
        f"The aligner {done.name} is in the store. Its probes have the same embeddings here, to {largest:.1g}."
    )
    for path in done.labels:
        terminal.say(f"Prompts of labels: {path}")
