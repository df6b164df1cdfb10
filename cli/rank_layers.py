"""`structure rank-layers`."""

from __future__ import annotations

from typing import Annotated

import typer

from structure.cli.options import DEFAULT_STORE, JsonOption, QuietOption, StoreOption
from structure.cli.terminal import Terminal


def rank_layers(
    vision: Annotated[str | None, typer.Option(help="Vision features; needed only if there are several.")] = None,
    text: Annotated[str | None, typer.Option(help="Text features; needed only if there are several.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset; needed only if there are several.")] = None,
    split: Annotated[str | None, typer.Option(help="Split; train by default.")] = None,
    metric: Annotated[
        str, typer.Option(help="mutual-knn, cka, unbiased-cka, cknna, cycle-knn, svcca, ...")
    ] = "mutual-knn",
    preset: Annotated[str, typer.Option(help="structure or platonic.")] = "structure",
    k: Annotated[
        str | None, typer.Option("--k", help="rice, sqrt, sturges or a number; the preset's by default.")
    ] = None,
    samples: Annotated[str | None, typer.Option(help="Number of items, or all; the preset's by default.")] = None,
    seed: Annotated[int, typer.Option(help="Of the subset and of the permutations.")] = 42,
    calibrate: Annotated[int, typer.Option(min=0, help="Permutations of the null.")] = 200,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    memory: Annotated[str, typer.Option(help="Budget of the search, such as 1GB.")] = "1GB",
    scheduler: Annotated[str | None, typer.Option(help="Address of a dask scheduler to run on.")] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score every pair of a vision and a text layer, keep the matrix and a heatmap, and say which pair and why.

    Example: structure rank-layers --k rice
    """
    from structure.cli.choices import byte_count, count_or
    from structure.cli.cluster import compute_on
    from structure.pipeline.stages.rank_layers import rank_layers as run

    terminal = Terminal(as_json=as_json, quiet=quiet)
    with terminal.working() as listener, compute_on(scheduler) as compute:
        found = run(
            store=store,
            vision=vision,
            text=text,
            dataset=dataset,
            split=split,
            metric=metric,
            preset=preset,  # type: ignore[arg-type]
            k=None if k is None else count_or("--k", k, ("rice", "sqrt", "sturges")),
            samples=None if samples is None else count_or("--samples", samples, ("all",)),
            seed=seed,
            calibrate=calibrate,
            device=device,
            memory=byte_count("--memory", memory),
            compute=compute,
            on_event=listener,
        )
    if as_json:
        terminal.document(found.ranking)
        return
    rows = [{"": name, **found.ranking[name]} for name in ("best", "runner_up") if found.ranking[name]]
    terminal.table(rows, ["", "vision_layer", "text_layer", "score", "calibrated", "p_value"])
    terminal.say(found.ranking["reason"])
    terminal.say(f"Kept in {found.folder}. Next: structure align --layers auto --store {store}")
