"""Training options from flags, what a training run shows, and TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structure.cli.terminal import Terminal
from structure.pipeline.progress import Event, Listener, Progress
from structure.store.errors import StructureError, UsageError

if TYPE_CHECKING:
    from structure.pipeline.aligners.aligned import Aligned


def given_options(flags: Mapping[str, Any], settings: Sequence[str], *, method: str) -> dict[str, Any]:
    """The flags that were given and every `OPTION=VALUE`, by name. Raises UsageError and StructureError."""
    from structure.pipeline.aligners.options import (
        TrainingOptions,
        all_option_names,
        option_names,
        renamed,
        unknown_option,
    )

    values = {name: value for name, value in flags.items() if value is not None}
    for text in settings:
        written, equals, value = text.partition("=")
        if not equals or not written:
            raise UsageError(f"--set {text!r}: write OPTION=VALUE, such as centre_first=true.")
        (name,) = renamed({written: value})
        if name in ("method", "device"):
            raise UsageError(f"--set {text}: write --{name} {value or 'VALUE'}.")
        if name in values:
            raise UsageError(f"--set {written} is given twice, or beside its own flag.")
        if name not in all_option_names():
            raise unknown_option(name, option_names(method))
        values[name] = TrainingOptions.parse(name, value)
    return values


def axis(option: str, text: str) -> tuple[str, list[Any]]:
    """`OPTION=A,B` -> (option, its values). Layers are given as `A+B` for the pair A,B, as `A+B:C` for A+B,C."""
    from structure.cli.choices import words
    from structure.pipeline.aligners.options import TrainingOptions
    from structure.pipeline.stage_requests.align import AUTO

    name, equals, listed = text.partition("=")
    if not equals or not listed:
        raise UsageError(f"{option} {text!r}: write OPTION=A,B, such as regulariser=structure,none.")
    values = words(option, listed)
    if name == "layers":
        return name, [value.replace(":", ",") if ":" in value else value.replace("+", ",") for value in values]
    if name == "pairs":
        return name, counts(option, listed, such="pairs=1000,2500")
    if name == "weight":
        return name, [value if value == AUTO else TrainingOptions.parse(name, value) for value in values]
    return name, [TrainingOptions.parse(name, value) for value in values]


def counts(option: str, text: str, *, such: str, least: int = 1) -> list[int]:
    """Whole numbers from `least`, with commas; `such` is an example. Raises UsageError."""
    from structure.cli.choices import words

    values = words(option, text)
    if not all(value.isdigit() and int(value) >= least for value in values):
        raise UsageError(f"{option} {text!r}: write whole numbers from {least}, with commas, such as {such}.")
    numbers = [int(value) for value in values]
    twice = next((number for number in numbers if numbers.count(number) > 1), None)
    if twice is not None:
        raise UsageError(f"{option} {text!r} names {twice} twice. Leave one out.")
    return numbers


def show_aligned(terminal: Terminal, done: Aligned, store: str) -> None:
    """The outcome of one run: a table, or the document of `--json`."""
    document = done.to_json()
    if terminal.as_json:
        terminal.document(document)
        return
    if done.selection is not None:
        show_selection(terminal, done.selection)
    flat = {key: value for key, value in document.items() if not isinstance(value, dict | list)}
    # One order, for a new aligner and for one that was read: text last.
    sides = sorted(done.layers, key=lambda side: (side == "text", side))
    flat |= {f"{side} layer": done.layers[side] for side in sides}
    flat |= {f"validation {name}": value for name, value in document["metrics"].items()}
    flat |= {f"test {name}": value for name, value in document["test_metrics"].items()}
    terminal.table([{"": key, "value": value} for key, value in flat.items()], ["", "value"])
    terminal.say(
        f"Saved in {done.folder}. Next: structure eval --suite SUITE --aligner {done.name} --store {store} "
        "(structure suites lists them)"
    )


SHOWN_CANDIDATES = 12
"""Rows of the table on a terminal; the aligner's folder has all."""


def show_selection(terminal: Terminal, selection: Mapping[str, Any]) -> None:
    """The first candidates and the estimate; why was told when it was chosen."""
    rows = [
        {
            "method": row["method"],
            "options": ", ".join(f"{key}={value}" for key, value in row["options"].items()),
            "vision": row["layers"]["vision"],
            "text": row["layers"]["text"],
            selection["criterion"]: "" if row["score"] is None else f"{row['score']:.3f} ±{row['se']:.3f}",
            "pairs": row["pairs"] or None,
            "seconds": round(row["seconds"], 2),
            "": "chosen" if row["chosen"] else row["note"],
        }
        for row in selection["candidates"]
    ]
    title = f"Cross-validation over {selection['folds']} folds, ± one standard error"
    terminal.table(rows[:SHOWN_CANDIDATES], list(rows[0]), title=title)
    if len(rows) > SHOWN_CANDIDATES:
        terminal.say(f"{len(rows) - SHOWN_CANDIDATES} more candidates are in the aligner's selection.parquet.")
    estimate = selection["estimate"]
    if estimate["score"] is not None:
        terminal.say(
            f"Expected {selection['criterion']} from {estimate['pairs']:,} pairs: {estimate['score']:.3f} "
            f"±{estimate['se']:.3f} ({estimate['how']})."
        )


@contextmanager
def logged(listener: Listener, folder: Path | None) -> Iterator[Listener]:
    """A listener that also writes the numbers of every epoch for TensorBoard; each run of many is a folder of its own.

    Raises StructureError where TensorBoard's writer is not installed.
    """
    if folder is None:
        yield listener
        return
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise StructureError(
            "--tensorboard needs the package tensorboardX. Run: pip install 'structure-align[tensorboard]'"
        ) from None
    writers: list[Any] = []

    def writing(event: Event) -> None:
        listener(event)
        if not isinstance(event, Progress) or not event.values:
            return
        if not writers or event.done == 1:
            writers.append(SummaryWriter(str(folder / f"run{len(writers) + 1:03d}")))
        for name, value in event.values.items():
            group = "validation" if name.startswith("val_") else "training"
            writers[-1].add_scalar(f"{group}/{name.removeprefix('val_')}", value, event.done)

    try:
        yield writing
    finally:
        for writer in writers:
            writer.close()
