"""Asking before work that takes hours or fills disks: on a terminal a question, elsewhere `--yes`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from structure.cli.options import COMMON
from structure.cli.terminal import Terminal, duration
from structure.store.errors import UsageError

if TYPE_CHECKING:
    from structure.pipeline.features.forecast import Consent, Forecast

YesOption = Annotated[
    bool, typer.Option("--yes", help="Do not ask before more than 100 GB or 2 hours of work.", rich_help_panel=COMMON)
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print what is there and what is due: rows, bytes, memory and time. Does nothing.",
        rich_help_panel=COMMON,
    ),
]


def asking(*, yes: bool) -> Consent | None:
    """What a stage asks before an encoder runs; None where everything is agreed to beforehand."""
    if yes:
        return None

    def consent(ahead: Forecast) -> None:
        if not ahead.is_long:
            return
        time = f", about {duration(ahead.seconds)}" if ahead.seconds else ""
        told = f"{ahead.features}: {ahead.rows:,} rows and {ahead.bytes:,} bytes are ahead{time}"
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(
                f"{told}. That is more than 100 GB or 2 hours: pass --yes if it is meant, or see --dry-run."
            )
        if not typer.confirm(f"{told}. Go on?", err=True):
            raise typer.Abort

    return consent


def show_ahead(
    terminal: Terminal, store: str, parts: Sequence[Mapping[str, Any]], absent: Sequence[Mapping[str, str]] = ()
) -> None:
    """The plan of a dry run, as a table or a JSON document."""
    if terminal.as_json:
        terminal.document({"store": store, "dry_run": True, "parts": list(parts), "absent": list(absent)})
        return
    terminal.table(parts, ["what", "rows", "due", "disk", "memory", "seconds"])
    if absent:
        terminal.table(absent, ["dataset", "how_to_get"], title="Not here")
    seconds = [part["seconds"] for part in parts]
    told = "" if None in seconds else f", about {duration(sum(seconds))}"
    terminal.say(f"{sum(part['due'] > 0 for part in parts)} of {len(parts)} parts are due{told}. Nothing was done.")
