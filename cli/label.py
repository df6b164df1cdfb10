"""`structure label`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from structure.cli.flags import takes_flags
from structure.cli.using import DataArgument, PlannedUsingFlags

SHOWN = 20
"""Images of the table, where no file is written."""


@dataclass(frozen=True, kw_only=True)
class LabelFlags(PlannedUsingFlags):
    """Which images, and which classes."""

    data: DataArgument
    classes: Annotated[str, typer.Option(help="Names with commas, or a text file with one name a line.")]
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="Template with {c} for the name; repeat for several.", show_default=False),
    ] = None
    prompts: Annotated[
        str | None, typer.Option(help="Prompt set, or a YAML file: structure suites.", show_default=False)
    ] = None
    out: Annotated[
        Path | None, typer.Option(help="A file that ends in .csv, .parquet or .json.", show_default=False)
    ] = None


@takes_flags
def label(flags: LabelFlags) -> None:
    """Give each image its nearest classes, with scores, probabilities and the margin of the first.

    Example: structure label photos --classes "cat,dog" --out labels.csv
    """
    from structure.pipeline.stages.label import LabelRequest, plan, run

    terminal = flags.terminal()
    request = LabelRequest(
        flags.data,
        classes=flags.classes,
        prompt=flags.prompt or (),
        prompts=flags.prompts,
        aligner=flags.aligner,
        split=flags.split,
        out=flags.out,
    )
    done = flags.done(terminal, request, run, plan)
    if done is None:
        return
    if flags.as_json:
        terminal.document(done.to_json())
        return
    if flags.out is None:
        rows = done.rows[:SHOWN]
        terminal.table(rows, ["id", "label", "score", "probability", "margin", "label_2", "probability_2"])
    terminal.table([{"class": name, "images": count} for name, count in done.counts.items()], ["class", "images"])
    if flags.out is None and len(done.rows) > SHOWN:
        terminal.say(f"The first {SHOWN} of {len(done.rows):,} are shown; --out labels.csv writes all.")
    terminal.say(f"{len(done.rows):,} images of {done.dataset} labelled with {done.aligner} in {done.seconds:.1f} s.")
