"""`structure suites`."""

from __future__ import annotations

from typing import Annotated

import typer

from structure.cli import completion
from structure.cli.options import JsonOption
from structure.cli.terminal import Terminal


def suites(
    name: Annotated[
        str | None,
        typer.Argument(help="Show the tasks of this suite (a name or a YAML file).", autocompletion=completion.suites),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the evaluation suites, or the tasks of one.

    Example: structure suites clip-benchmark
    """
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
