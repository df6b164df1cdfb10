"""`structure demo`: the shipped recipe on generated scenes, offline."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from structure.cli.options import JsonOption, QuietOption
from structure.cli.terminal import Terminal

SHOWN = (
    ("scenes/shape", "acc1"),
    ("scenes/colour", "acc1"),
    ("scenes/count", "acc1"),
    ("scenes/relation", "acc1"),
    ("scenes", "image_retrieval_recall@10"),
    ("scenes", "text_retrieval_recall@10"),
    ("scenes", "miou"),
)


def demo(
    store: Annotated[str, typer.Option("--store", help="Folder for the demo's store.")] = "structure-demo",
    out: Annotated[Path, typer.Option(help="Where to put the report.")] = Path("report.html"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run the whole pipeline offline in minutes: generated scenes, bundled encoders, no network and no GPU.

    Example: structure demo
    """
    from structure.cli.sweeps import STARRED
    from structure.pipeline.metrics.intervals import multiplicity
    from structure.pipeline.recipe.running import run
    from structure.pipeline.run_context import RunContext

    terminal = Terminal(as_json=as_json, quiet=quiet)
    began = time.perf_counter()
    with terminal.working() as listener:
        context = RunContext.of(store, device=device, on_event=listener)
        done = run("demo", context)
    out.write_bytes(context.store.folder("reports", done.name).read("report.html"))
    document = {**done.to_json(), "report": str(out), "seconds_total": time.perf_counter() - began}
    if as_json:
        terminal.document(document)
        return
    rows = []
    for dataset, metric in SHOWN:
        means = [row for row in done.summary.means if (row.dataset, row.metric) == (dataset, metric)]
        values = {
            short(row.variant): f"{row.value:.3f} ±{max(row.high - row.value, row.value - row.low):.3f}"
            for row in means
        }
        rows.append({"task": dataset, "metric": metric, **values, "chance": means[0].chance if means else None})
    terminal.table(
        rows, list(rows[0]), title="Mean over 5 seeds ± half its 95 % interval, as fractions; chance beside it"
    )
    compared = [row for row in done.summary.differences if (row.dataset, row.metric) in SHOWN]
    differences = [
        {
            "first": short(row.first),
            "minus second": short(row.second),
            "task": row.dataset,
            "metric": row.metric,
            "difference": f"{row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]",
            "": "*" if row.is_significant else "",
        }
        for row in compared
    ]
    terminal.table(differences, list(differences[0]), title=STARRED)
    terminal.say(multiplicity((row.low, row.high) for row in compared))
    terminal.say(f"{document['seconds_total']:.0f} s in all. Report: {out}. Store: {store}")


def short(variant: str) -> str:
    """`layers=auto regulariser=structure` -> `auto + R_S`."""
    values = dict(part.split("=") for part in variant.split())
    return values["layers"] + (" + R_S" if values["regulariser"] == "structure" else "")
