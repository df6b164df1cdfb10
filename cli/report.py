"""`structure report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from structure.cli.options import DEFAULT_STORE, JsonOption, QuietOption, StoreOption
from structure.cli.terminal import Terminal
from structure.store.errors import UsageError


def report(
    out: Annotated[Path | None, typer.Option(help="File to write; report.html in the store by default.")] = None,
    files: Annotated[
        Path | None, typer.Option(help="Folder for each chart as PNG and each table as CSV.", show_default=False)
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write one self-contained HTML page of everything in the store; to stdout where the store cannot be written.

    Example: structure report --out report.html --files figures
    """
    from structure.pipeline.stages.report import page_of
    from structure.pipeline.stages.report import report as run
    from structure.store import open_store

    terminal = Terminal(as_json=as_json, quiet=quiet)
    opened = open_store(store)
    if out is None and files is None and not opened.files.writable:
        if as_json:
            raise UsageError(f"{opened.url} cannot be written: say where the page goes with --out report.html.")
        typer.echo(page_of(opened))
        terminal.say(f"{opened.url} cannot be written: the page went to stdout. --out FILE writes it.")
        return
    place = run(store=opened, out=out, files=files)
    if not opened.feature_sets():
        terminal.say(f"The store {opened.url} is empty, so the page only says what to type. --store names another one.")
    if as_json:
        terminal.document({"report": place, "files": None if files is None else str(files)})
    else:
        typer.echo(place)
