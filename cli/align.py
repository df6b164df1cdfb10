"""`structure align`."""

from __future__ import annotations

from typing import Annotated

import typer

from structure.cli.options import DEFAULT_STORE, JsonOption, QuietOption, StoreOption
from structure.cli.terminal import Terminal


def align(
    layers: Annotated[str, typer.Option(help="auto (the newest ranking), last, or VISION_LAYER,TEXT_LAYER.")] = "auto",
    method: Annotated[str, typer.Option(help="linear, mlp, lowrank, csa, ...")] = "linear",
    regulariser: Annotated[str | None, typer.Option(help="structure (R_S) or none.")] = None,
    weight: Annotated[float | None, typer.Option(help="Weight of R_S.")] = None,
    levels: Annotated[int | None, typer.Option(min=1, help="Levels of R_S.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of R_S and of InfoNCE.")] = None,
    divergence: Annotated[str | None, typer.Option(help="js (the paper's) or released.")] = None,
    preset: Annotated[str, typer.Option(help="default, paper or released.")] = "default",
    pairs: Annotated[int | None, typer.Option(min=1, help="Train on a seeded subset of N pairs.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the split, the batches and the first weights.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most this many.")] = None,
    dim: Annotated[int | None, typer.Option(min=1, help="Width of the shared space.")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Pairs in a batch.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate; without it a learning-rate test finds one.")] = None,
    selection: Annotated[str | None, typer.Option(help="contrastive, retrieval or loss: what picks the epoch.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset; needed only if there are several.")] = None,
    split: Annotated[str | None, typer.Option(help="Split; train by default.")] = None,
    vision: Annotated[str | None, typer.Option(help="Vision features; needed only if there are several.")] = None,
    text: Annotated[str | None, typer.Option(help="Text features; needed only if there are several.")] = None,
    memory: Annotated[str | None, typer.Option(help="Budget for the two layers, such as 2GB.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the aligner in the store.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train an aligner from the cached shards, with the regulariser R_S of STRUCTURE or without.

    Example: structure align --layers auto --regulariser none
    """
    from structure.cli.choices import byte_count
    from structure.pipeline.aligners.options import TrainingOptions
    from structure.pipeline.stages.align import align as run

    given = {
        "regulariser": regulariser,
        "weight": weight,
        "levels": levels,
        "temperature": temperature,
        "divergence": divergence,
        "seed": seed,
        "epochs": epochs,
        "dim": dim,
        "batch": batch,
        "rate": lr,
        "selection": selection,
    }
    changes = {field: value for field, value in given.items() if value is not None}
    options = TrainingOptions.preset(preset, method=method, device=device, **changes)
    terminal = Terminal(as_json=as_json, quiet=quiet)
    with terminal.working() as listener:
        done = run(
            layers,
            store=store,
            dataset=dataset,
            split=split,
            vision=vision,
            text=text,
            options=options,
            pairs=pairs,
            memory=None if memory is None else byte_count("--memory", memory),
            name=name,
            on_event=listener,
        )
    document = done.to_json()
    if as_json:
        terminal.document(document)
        return
    flat = {key: value for key, value in document.items() if not isinstance(value, dict)}
    flat |= {f"{side} layer": layer for side, layer in done.layers.items()} | document["metrics"]
    terminal.table([{"": key, "value": value} for key, value in flat.items()], ["", "value"])
    terminal.say(f"Kept in {done.folder}. Next: structure eval --suite SUITE --aligner {done.name} --store {store}")
