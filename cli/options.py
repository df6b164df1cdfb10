"""The options that every command shares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

COMMON = "Common options"


def _stated(store: str) -> str:
    """Refuse an empty address, which an unset variable of the shell leaves: it would be this folder."""
    if not store.strip():
        raise typer.BadParameter("it is empty; it must be a path or an fsspec URL.")
    return store


StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="STRUCTURE_STORE",
        help="Store: a path or an fsspec URL.",
        rich_help_panel=COMMON,
        callback=_stated,
    ),
]
DataRootOption = Annotated[
    Path,
    typer.Option("--data-root", envvar="STRUCTURE_DATA", help="Where datasets lie.", rich_help_panel=COMMON),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.", rich_help_panel=COMMON)
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress, no notes.", rich_help_panel=COMMON)]
TrustOption = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with a model. Off by default.")
]

DEFAULT_STORE = "structure-store"
DEFAULT_DATA = Path("data")
