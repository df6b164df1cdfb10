"""`structure run` and `structure status`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from structure.cli import completion
from structure.cli.consent import DryRunOption, YesOption, asking
from structure.cli.options import (
    DEFAULT_DATA,
    DEFAULT_STORE,
    DataRootOption,
    JsonOption,
    QuietOption,
    StoreOption,
    TrustOption,
)
from structure.cli.terminal import Terminal
from structure.store.errors import NotPresentError

if TYPE_CHECKING:
    from structure.pipeline.recipe.running import StepStatus

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


def run(
    recipe: RecipeArgument = "",
    changes: SetOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say of each step whether it runs, and why.")] = False,
    out: Annotated[Path | None, typer.Option(help="A copy of the report.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    trust_remote_code: TrustOption = False,
    store: StoreOption = DEFAULT_STORE,
    data_root: DataRootOption = DEFAULT_DATA,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a recipe: extract, rank, align over a grid, evaluate, report. Run it again to go on where it stopped.

    A step is done again only where something that it depends on has changed.

    Example: structure run figure2-scenes --store my-store
    """
    terminal = Terminal(as_json=as_json, quiet=quiet)
    if not recipe:
        _list(terminal)
        return
    if dry_run or explain:
        asked = (device, trust_remote_code) if dry_run else None
        _plan(terminal, recipe, changes or [], store, data_root, probe=asked)
        return
    from structure.pipeline.recipe.running import run as carry_out
    from structure.store import open_store

    began = time.perf_counter()
    with terminal.working() as listener:
        done = carry_out(
            recipe,
            store=store,
            data_root=data_root,
            device=device,
            trust_remote_code=trust_remote_code,
            changes=changes or (),
            consent=asking(yes=yes),
            on_event=listener,
        )
    if out is not None:
        out.write_bytes(open_store(store).folder("reports", done.name).read("report.html"))
    document = {**done.to_json(), "seconds_total": time.perf_counter() - began}
    if as_json:
        terminal.document(document)
        return
    means = [row for row in document["means"] if row["metric"] in done.metrics]
    differences = [row for row in document["differences"] if row["metric"] in done.metrics]
    found = document["correlations"]
    terminal.table(
        means, ["variant", "dataset", "metric", "value", "low", "high", "chance", "seeds"], title="Means over seeds"
    )
    if differences:
        terminal.table(
            differences, ["first", "second", "dataset", "metric", "value", "low", "high"], title="Paired differences"
        )
    if found:
        columns = ["dataset", "metric", "rho", "p_value", "layer_pairs", "group"]
        terminal.table(found, columns, title="Spearman's rho of layer similarity with each metric")
    if done.absent:
        terminal.table(list(done.absent), ["dataset", "how_to_get"], title="Not evaluated")
    kept = sum(was == "kept" for _, was, _ in done.steps)
    terminal.say(
        f"{len(done.steps) - kept} steps ran, {kept} were kept, {document['seconds_total']:.0f} s. "
        f"Report: {out or done.report}"
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
        _plan(terminal, recipe, changes or [], store, data_root, probe=None)
        return
    from structure.pipeline.stages.status import status
    from structure.store import open_store

    opened = open_store(store)
    found = status(opened)
    if as_json:
        terminal.document({"store": opened.url, **found})
        return
    if not any(found.values()):
        terminal.say(f"The store {opened.url} is empty. Fill it with: structure extract --model M --dataset D")
        return
    terminal.table(found["features"], ["features", "state", "done", "rows", "running", "skipped"], title="Features")
    for part in ("rankings", "aligners", "results", "recipes", "missing"):
        if found[part]:
            terminal.table(found[part], list(found[part][0]), title=part.capitalize())


def _list(terminal: Terminal) -> None:
    from structure.pipeline.recipe.schema import load_recipe, recipe_names

    rows = [{"recipe": name, "about": load_recipe(name).about} for name in recipe_names()]
    if terminal.as_json:
        terminal.document({"recipes": rows})
    else:
        terminal.table(rows, ["recipe", "about"])
        terminal.say("Run one with: structure run NAME. A file of your own is named by its path, ending in .yaml.")


def _plan(
    terminal: Terminal,
    recipe: str,
    changes: list[str],
    store: str,
    data_root: Path,
    *,
    probe: tuple[str, bool] | None,
) -> None:
    """Where the steps stand; with `probe` (device, whether a model's own code is run) also what the extractions that
    are due would take."""
    from structure.pipeline.recipe.running import outlook

    found = outlook(recipe, store=store, data_root=data_root, changes=changes)
    plan, going = found.recipe, found.going
    rows = [status.row() for status in found.standings]
    due, absent = _extractions(terminal, found.standings, store, data_root, *probe) if probe else ([], [])
    absent += map(dict, found.absent)
    if terminal.as_json:
        terminal.document({"recipe": plan.name, "running": going, "steps": rows, "extractions": due, "absent": absent})
        return
    terminal.table(rows, ["step", "state", "why", "seconds"], title=f"{plan.name} ({plan.source})")
    if due:
        columns = ["features", "rows", "layers", "pending_rows", "pending_bytes", "free_bytes", "estimated_seconds"]
        terminal.table(due, columns, title="Extractions that are due")
    if absent:
        terminal.table(absent, ["what", "how_to_get"], title="Not here")
    counts = {state: sum(row["state"] == state for row in rows) for state in ("done", "due", "waits")}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    terminal.say(f"{len(rows)} steps: {told}." + (" A run of it is going on." if going else ""))


def _extractions(
    terminal: Terminal, standings: Sequence[StepStatus], store: str, data_root: Path, device: str, trust: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What each extraction that is due would take, and those whose model or dataset is not on this machine."""
    from structure.pipeline.stages.extract import extract

    due: list[dict[str, Any]] = []
    absent = []
    for status in standings:
        if status.step.stage != "extract" or status.state != "due":
            continue
        given = dict(status.step.options)
        model, dataset = given.pop("model"), given.pop("dataset")
        where: dict[str, Any] = {"store": store, "data_root": data_root, "device": device, "trust_remote_code": trust}
        try:
            with terminal.working() as listener:
                found = extract(model, dataset, dry_run=True, on_event=listener, **where, **given)
        except NotPresentError as error:
            absent.append({"what": status.step.key, "how_to_get": str(error)})
        else:
            due += [extracted.row() for extracted in found]
    return due, absent
