"""`structure datasets check`."""

from __future__ import annotations

from typing import Annotated

import typer

from structure.cli.options import DEFAULT_DATA, DataRootOption, JsonOption, QuietOption
from structure.cli.terminal import Terminal


def check(
    spec: Annotated[str, typer.Argument(help="Any dataset that --dataset takes: pairs:FILE, folder:DIR, coco, ...")],
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Repeat for several; train, val and test by default.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Text model whose token limit captions are held against.")] = None,
    data_root: DataRootOption = DEFAULT_DATA,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read every item and say what is wrong: files, ids, captions, classes, leaks. Exit code 1 on errors.

    Example: structure datasets check pairs:my.jsonl --model minilm
    """
    from structure.pipeline.stages.check_data import check_data

    terminal = Terminal(as_json=as_json, quiet=quiet)
    with terminal.working() as listener:
        done = check_data(spec, data_root=data_root, splits=split or (), model=model, on_event=listener)
    document = done.to_json()
    if as_json:
        terminal.document(document)
    else:
        terminal.table(document["splits"], list(document["splits"][0]), title=spec)
        if document["classes"]:
            terminal.table(document["classes"], ["split", "task", "class", "items"], title="Classes")
        rows = [{**row, "example": row["examples"][0]} for row in document["problems"]]
        if rows:
            terminal.table(rows, ["level", "kind", "count", "example"], title="Problems")
        errors = sum(row["level"] == "error" for row in rows)
        terminal.say(f"{errors} kinds of errors, {len(rows) - errors} of warnings.")
    if not done.ok:
        raise typer.Exit(1)
