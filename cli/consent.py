"""Asking before work that takes hours or fills disks: on a terminal a question, elsewhere `--yes`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from structure.cli.options import COMMON
from structure.cli.terminal import Terminal, duration
from structure.store.errors import UsageError

if TYPE_CHECKING:
    from structure.pipeline.extraction.estimate import ExtractionEstimate
    from structure.pipeline.run_context import Confirm
    from structure.pipeline.work_estimate import WorkEstimate

YesOption = Annotated[
    bool, typer.Option("--yes", help="Do not ask before more than 100 GB or 2 hours of work.", rich_help_panel=COMMON)
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print what is there and what is pending: rows, bytes, memory and time. Does nothing.",
        rich_help_panel=COMMON,
    ),
]


def asking(*, yes: bool) -> Confirm | None:
    """What a stage asks before an encoder runs; None where everything is agreed to beforehand."""
    if yes:
        return None

    def confirm(ahead: ExtractionEstimate) -> None:
        if ahead.is_long:
            _ask(f"{ahead.features}: {ahead.rows:,} rows and {ahead.bytes:,} bytes are ahead", ahead.seconds)

    return confirm


def agreed(parts: Callable[[], Sequence[WorkEstimate]], *, yes: bool) -> None:
    """Ask about what is ahead of a whole command where it is long; it is planned only if `yes` was not said."""
    if yes:
        return
    from structure.pipeline.extraction.estimate import LARGE_BYTES, LONG_SECONDS

    ahead = parts()
    seconds, disk = sum(part.seconds or 0.0 for part in ahead), sum(part.disk for part in ahead)
    if seconds > LONG_SECONDS or disk > LARGE_BYTES:
        _ask(f"{'; '.join(part.what for part in ahead)}: {disk:,} bytes are ahead", seconds)


def _ask(told: str, seconds: float) -> None:
    """Raises UsageError where nobody can answer, and Abort where the answer is no."""
    told += f", about {duration(seconds)}" if seconds else ""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{told}. That is more than 100 GB or 2 hours: pass --yes if it is meant, or see --dry-run.")
    if not typer.confirm(f"{told}. Go on?", err=True):
        raise typer.Abort


def show_ahead(
    terminal: Terminal, store: str, parts: Sequence[Mapping[str, Any]], absent: Sequence[Mapping[str, str]] = ()
) -> None:
    """The plan of a dry run, as a table or a JSON document."""
    if terminal.as_json:
        terminal.document({"store": store, "dry_run": True, "parts": list(parts), "absent": list(absent)})
        return
    terminal.table(parts, ["what", "rows", "pending", "disk", "memory", "seconds"])
    if absent:
        terminal.table(absent, ["dataset", "how_to_get"], title="Not here")
    seconds = [part["seconds"] for part in parts]
    told = "" if None in seconds else f", about {duration(sum(seconds))}"
    terminal.say(
        f"{sum(part['pending'] > 0 for part in parts)} of {len(parts)} parts are pending{told}. Nothing was done."
    )
