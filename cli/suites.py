"""`structure suites`."""

from __future__ import annotations

from typing import Annotated

import typer

from structure.cli import completion
from structure.cli.options import JsonOption
from structure.cli.terminal import Terminal
from structure.pipeline.yaml_file import shipped
from structure.store.errors import UsageError


def suites(
    name: Annotated[
        str | None,
        typer.Argument(help="Show the tasks of this suite (a name or a YAML file).", autocompletion=completion.suites),
    ] = None,
    template: Annotated[
        bool, typer.Option("--template", help="Print a suite file for your own data, to be changed and saved.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the evaluation suites, or the tasks of one.

    Example: structure suites clip-benchmark
    """
    if template:
        if name is not None or as_json:
            raise UsageError("--template prints a file to start from, as text. Leave out the suite's name and --json.")
        typer.echo(shipped("templates")["suite"].read_text(encoding="utf-8"), nl=False)
        return
    from structure.pipeline.suites.suite import load_suite, suite_names

    terminal = Terminal(as_json=as_json, quiet=False)
    if name is None:
        rows = [
            {"suite": loaded.label, "tasks": len(loaded.tasks), "about": loaded.about}
            for loaded in map(load_suite, suite_names())
        ]
    else:
        chosen = load_suite(name)
        rows = [
            {
                "dataset": task.title,
                "split": task.split,
                "kind": task.kind,
                "metric": task.metric,
                "prompts": task.prompts,
                "by default": "yes" if task in chosen.tasks else "on request",
            }
            for task in (*chosen.tasks, *chosen.on_request)
        ]
    if as_json:
        terminal.document({"suites" if name is None else "tasks": rows})
    else:
        terminal.table(rows, list(rows[0]))
