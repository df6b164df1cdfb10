"""`structure run` and `structure status`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from structure.cli import completion
from structure.cli.advice import complete
from structure.cli.consent import asking
from structure.cli.flags import DataFlags, PlanFlags, StoreFlags, TrustFlags, takes_flags
from structure.cli.options import (
    DEFAULT_DATA,
    DEFAULT_STORE,
    DataRootOption,
    JsonOption,
    StoreOption,
)
from structure.cli.terminal import Terminal
from structure.store.errors import NotPresentError

if TYPE_CHECKING:
    from structure.pipeline.recipe.running import RecipeRun, StepStatus
    from structure.pipeline.run_context import RunContext

RecipeArgument = Annotated[
    str,
    typer.Argument(
        help="A shipped recipe's name, or a YAML file. Without it: the list.", autocompletion=completion.recipes
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a value, as in --set extract.dataset=pairs:my.jsonl; repeat for several."),
]


@dataclass(frozen=True, kw_only=True)
class RunFlags(PlanFlags, TrustFlags, StoreFlags, DataFlags):
    """Which recipe to run, and with what changed."""

    recipe: RecipeArgument = ""
    changes: SetOption = None
    explain: Annotated[bool, typer.Option("--explain", help="Say of each step whether it runs, and why.")] = False
    out: Annotated[Path | None, typer.Option(help="A copy of the report.")] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto"


@takes_flags
def run(flags: RunFlags) -> None:
    """Run a recipe: extract, rank, align over a grid, evaluate, report. Run it again to go on where it stopped.

    A step is done again only where something that it depends on has changed. Exit code 1: a variant was not trained.

    Example: structure run figure2-scenes --store my-store
    """
    terminal = flags.terminal()
    if not flags.recipe:
        _list(terminal)
        return
    from structure.pipeline.run_context import RunContext

    context = RunContext.of(
        flags.store, data_root=flags.data_root, device=flags.device, trust_remote_code=flags.trust_remote_code
    )
    if flags.dry_run or flags.explain:
        _plan(terminal, flags.recipe, flags.changes or [], context, extractions=flags.dry_run)
        return
    from structure.pipeline.recipe.running import run as run_recipe

    began = time.perf_counter()
    with terminal.working() as listener:
        context = replace(context, confirm=asking(yes=flags.yes), on_event=listener)
        done = run_recipe(flags.recipe, context, changes=flags.changes or ())
    if flags.out is not None:
        flags.out.write_bytes(context.store.folder("reports", done.name).read("report.html"))
    document = {**done.to_json(), "seconds_total": time.perf_counter() - began}
    if flags.as_json:
        terminal.document(document)
    else:
        _show(terminal, done, document, report=flags.out or done.report)
    if done.failed:
        raise typer.Exit(1)


def _show(terminal: Terminal, done: RecipeRun, document: dict[str, Any], *, report: Path | str) -> None:
    """The tables of a recipe that was run."""
    from structure.pipeline.metrics.chance import shown_rows
    from structure.pipeline.metrics.intervals import multiplicity

    means = shown_rows(document["means"], done.metrics)
    about = {(row["dataset"], row["metric"]) for row in means}
    differences = [row for row in document["differences"] if (row["dataset"], row["metric"]) in about]
    correlations = document["correlations"]
    terminal.table(
        means, ["variant", "dataset", "metric", "value", "low", "high", "chance", "seeds"], title="Means over seeds"
    )
    if differences:
        terminal.table(
            differences, ["first", "second", "dataset", "metric", "value", "low", "high"], title="Paired differences"
        )
        terminal.say(multiplicity((row["low"], row["high"]) for row in differences))
    if correlations:
        columns = ["dataset", "metric", "rho", "p_value", "layer_pairs", "group"]
        terminal.table(correlations, columns, title="Spearman's rho of layer similarity with each metric")
    if done.absent:
        terminal.table(list(done.absent), ["dataset", "how_to_get"], title="Not evaluated")
    for variant, trained in done.summary.identical.items():
        terminal.say(f"{variant} is identical to {trained}: it was trained once.")
    for variant, other in done.summary.same_weights.items():
        terminal.say(f"{variant} came out as {other}, number for number, with every seed: they are one model.")
    for row in done.failed:
        terminal.say(f"Not trained: {row['variant']}. {row['why']}")
    cached = sum(was == "cached" for _, was, _ in done.steps)
    terminal.say(
        f"{len(done.steps) - cached} steps ran, {cached} were cached, {document['seconds_total']:.0f} s. "
        f"Report: {report}"
    )


def status(
    recipe: RecipeArgument = "",
    changes: SetOption = None,
    store: StoreOption = DEFAULT_STORE,
    data_root: DataRootOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Say what is done, running and missing: of a recipe, or of everything in the store.

    Example: structure status demo --store structure-demo
    """
    terminal = Terminal(as_json=as_json, quiet=False)
    if recipe:
        from structure.pipeline.run_context import RunContext

        _plan(terminal, recipe, changes or [], RunContext.of(store, data_root=data_root), extractions=False)
        return
    from structure.pipeline.stages.status import status
    from structure.store import open_store

    opened = open_store(store)
    parts = status(opened)
    for row in (*parts["missing"], *parts["stale"]):
        row["command"] = complete(row["command"])
    if as_json:
        terminal.document({"store": opened.url, **parts})
        return
    if not any(parts.values()):
        terminal.say(f"The store {opened.url} is empty. Fill it with: structure extract --model M --dataset D")
        return
    terminal.table(parts["features"], ["features", "state", "done", "rows", "running", "skipped"], title="Features")
    for part in ("rankings", "aligners", "results", "recipes", "sweeps", "stale", "missing"):
        if parts[part]:
            terminal.table(parts[part], list(parts[part][0]), title=part.capitalize())


def _list(terminal: Terminal) -> None:
    from structure.pipeline.recipe.schema import load_recipe, recipe_names

    rows = [{"recipe": name, "about": load_recipe(name).about} for name in recipe_names()]
    if terminal.as_json:
        terminal.document({"recipes": rows})
    else:
        terminal.table(rows, ["recipe", "about"])
        terminal.say("Run one with: structure run NAME. A file of your own is named by its path, ending in .yaml.")


def _plan(terminal: Terminal, recipe: str, changes: list[str], context: RunContext, *, extractions: bool) -> None:
    """The status of every step; with `extractions` also what those that are pending would take. Writes nothing."""
    from structure.pipeline.recipe.running import plan

    planned = plan(recipe, context, changes=changes)
    rows = [status.row() for status in planned.steps]
    pending, absent = _extractions(terminal, planned.steps, context) if extractions else ([], [])
    absent += map(dict, planned.absent)
    name = planned.recipe.name
    if terminal.as_json:
        running = planned.is_running
        terminal.document({"recipe": name, "running": running, "steps": rows, "extractions": pending, "absent": absent})
        return
    terminal.table(rows, ["step", "state", "why", "seconds"], title=f"{name} ({planned.recipe.source})")
    if pending:
        columns = ["features", "rows", "layers", "pending_rows", "pending_bytes", "free_bytes", "estimated_seconds"]
        terminal.table(pending, columns, title="Pending extractions")
    if absent:
        terminal.table(absent, ["what", "how_to_get"], title="Not here")
    counts = {state: sum(row["state"] == state for row in rows) for state in ("done", "pending", "blocked")}
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    terminal.say(f"{len(rows)} steps: {states}." + (" It is running now." if planned.is_running else ""))


def _extractions(
    terminal: Terminal, steps: Sequence[StepStatus], context: RunContext
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What each pending extraction would take, and those whose model or dataset is not on this machine."""
    from structure.pipeline.stages.extract import extract

    pending: list[dict[str, Any]] = []
    absent = []
    for status in steps:
        if status.step.stage != "extract" or status.state != "pending":
            continue
        given = dict(status.step.options)
        model, dataset = given.pop("model"), given.pop("dataset")
        given |= {"data_root": context.data_root, "device": context.device}
        given["trust_remote_code"] = context.trust_remote_code
        try:
            with terminal.working() as listener:
                planned = extract(model, dataset, store=context.store, dry_run=True, on_event=listener, **given)
        except NotPresentError as error:
            absent.append({"what": status.step.key, "how_to_get": str(error)})
        else:
            pending += [extracted.row() for extracted in planned]
    return pending, absent
