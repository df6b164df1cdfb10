"""`structure datasets`."""

from __future__ import annotations

from typing import Annotated

import typer

from structure.cli.options import DEFAULT_DATA, DataRootOption, JsonOption
from structure.cli.terminal import Terminal


def datasets(
    name: Annotated[str | None, typer.Argument(help="Show this one: where it is looked for, how to get it.")] = None,
    data_root: DataRootOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """List the datasets that can be named, whether they are here, and how to get them.

    Example: structure datasets coco
    """
    from structure.pipeline.datasets.catalogue import list_datasets
    from structure.store.errors import unknown

    terminal = Terminal(as_json=as_json, quiet=False)
    rows = [{**listing.row(), "splits": ", ".join(listing.splits)} for listing in list_datasets(data_root)]
    if name is not None:
        chosen = [row for row in rows if row["name"] == name]
        if not chosen:
            raise unknown("dataset", name, [row["name"] for row in rows])
        if as_json:
            terminal.document(chosen[0])
        else:
            terminal.table([{"": key, "value": str(value)} for key, value in chosen[0].items()], ["", "value"])
        return
    for row in rows:
        row["here"] = {True: "yes", False: "no", None: ""}[row["present"]]
    if as_json:
        terminal.document({"data_root": str(data_root), "datasets": rows})
    else:
        terminal.table(rows, ["name", "here", "splits", "summary"])
        terminal.say("How to get one: structure datasets NAME")
