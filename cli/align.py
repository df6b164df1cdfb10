"""`structure align`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from structure.cli import completion
from structure.cli.consent import DryRunOption, YesOption, agreed, show_ahead
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
from structure.pipeline.aligners.registry import ALIGNERS

REGULARISER, TRAINING, DATA, MANY = "The regulariser R_S", "Training", "Data", "Many runs"


def align(
    layers: Annotated[str, typer.Option(help="auto (the newest ranking), last, or VISION_LAYER,TEXT_LAYER.")] = "auto",
    method: Annotated[
        str,
        typer.Option(
            help=", ".join(ALIGNERS),
            autocompletion=completion.methods,
        ),
    ] = "linear",
    preset: Annotated[str, typer.Option(help="default, paper or released.")] = "default",
    name: Annotated[str | None, typer.Option(help="Name of the aligner in the store.")] = None,
    regulariser: Annotated[
        str | None, typer.Option(help="structure (R_S) or none.", rich_help_panel=REGULARISER)
    ] = None,
    weight: Annotated[float | None, typer.Option(help="Weight of R_S.", rich_help_panel=REGULARISER)] = None,
    levels: Annotated[
        int | None, typer.Option(min=1, help="Levels, as matrix powers.", rich_help_panel=REGULARISER)
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of R_S and of InfoNCE.", rich_help_panel=REGULARISER)
    ] = None,
    divergence: Annotated[
        str | None, typer.Option(help="js (the paper's) or released.", rich_help_panel=REGULARISER)
    ] = None,
    similarity: Annotated[
        str | None, typer.Option(help="cosine, rbf or spearman (no gradient).", rich_help_panel=REGULARISER)
    ] = None,
    centring: Annotated[str | None, typer.Option(help="mean, none or standard.", rich_help_panel=REGULARISER)] = None,
    unpaired: Annotated[
        list[str] | None,
        typer.Option(help="DATASET or DATASET/SPLIT: rows that only R_S sees; repeat.", rich_help_panel=REGULARISER),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most this many.", rich_help_panel=TRAINING)] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Epochs without gain before it stops.", rich_help_panel=TRAINING)
    ] = None,
    dim: Annotated[int | None, typer.Option(min=1, help="Width of the shared space.", rich_help_panel=TRAINING)] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Pairs in a batch.", rich_help_panel=TRAINING)] = None,
    lr: Annotated[
        float | None,
        typer.Option(help="Learning rate; without it a learning-rate range test finds one.", rich_help_panel=TRAINING),
    ] = None,
    selection: Annotated[
        str | None,
        typer.Option(help="contrastive, retrieval or loss: what picks the epoch.", rich_help_panel=TRAINING),
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Then train on all pairs for that many epochs.", rich_help_panel=TRAINING)
    ] = False,
    ridge: Annotated[
        float | None, typer.Option(help="Of csa and ridge, a share of the mean variance.", rich_help_panel=TRAINING)
    ] = None,
    anchors: Annotated[
        int | None, typer.Option(min=1, help="Of pal (learnable) and relative.", rich_help_panel=TRAINING)
    ] = None,
    pool_temperature: Annotated[
        float | None, typer.Option(help="Of pal's softmax over tokens.", rich_help_panel=TRAINING)
    ] = None,
    pooling: Annotated[
        str | None, typer.Option(help="Of pal: attention, mean, or global (one vector).", rich_help_panel=TRAINING)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, or bf16 for the heads' products.", rich_help_panel=TRAINING)
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="OPTION=VALUE: any other training option; repeat.", rich_help_panel=TRAINING),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard's event files.", rich_help_panel=TRAINING)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the split, the batches and the first weights.", rich_help_panel=TRAINING)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.", rich_help_panel=TRAINING)] = "auto",
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Dataset; needed only if there are several.",
            autocompletion=completion.kept_datasets,
            rich_help_panel=DATA,
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split; train by default.", rich_help_panel=DATA)] = None,
    vision: Annotated[
        str | None, typer.Option(help="Vision features; needed only if there are several.", rich_help_panel=DATA)
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Text features; needed only if there are several.", rich_help_panel=DATA)
    ] = None,
    pairs: Annotated[int | None, typer.Option(min=1, help="A seeded subset of N pairs.", rich_help_panel=DATA)] = None,
    test: Annotated[
        float | None,
        typer.Option(help="Test fraction: share of the pairs that no run trains on.", rich_help_panel=DATA),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(help="DATASET:K, K labelled pictures a class, captioned with it; repeat.", rich_help_panel=DATA),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Budget for the two layers, such as 2GB.", rich_help_panel=DATA)
    ] = None,
    grid: Annotated[
        list[str] | None, typer.Option(help="OPTION=A,B: every combination; repeat.", rich_help_panel=MANY)
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="How many, or which with commas: 1,42,55.", rich_help_panel=MANY)
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(help="OPTION=A,B: paired differences at one learning rate.", rich_help_panel=MANY),
    ] = None,
    curve: Annotated[
        str | None, typer.Option(help="Numbers of pairs, such as 1000,2500,5000.", rich_help_panel=MANY)
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="Evaluate every aligner of many on this suite.", rich_help_panel=MANY)
    ] = None,
    trust_remote_code: TrustOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    store: StoreOption = DEFAULT_STORE,
    data_root: DataRootOption = DEFAULT_DATA,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train an aligner from the cached shards, with the regulariser R_S of STRUCTURE or without.

    Example: structure align --layers auto --compare regulariser=structure,none --seeds 5
    """
    from structure.cli.choices import byte_count
    from structure.cli.training import changes, logged, show_aligned

    terminal = Terminal(as_json=as_json, quiet=quiet)
    given = {
        "regulariser": regulariser,
        "weight": weight,
        "levels": levels,
        "temperature": temperature,
        "divergence": divergence,
        "similarity": similarity,
        "centring": centring,
        "epochs": epochs,
        "patience": patience,
        "dim": dim,
        "batch": batch,
        "learning_rate": lr,
        "selection": selection,
        "refit": refit or None,
        "ridge": ridge,
        "anchors": anchors,
        "pool_temperature": pool_temperature,
        "pooling": pooling,
        "precision": precision,
        "seed": seed,
    }
    options = changes(preset, given, setting or [], method=method, device=device)
    data: dict[str, Any] = {
        "dataset": dataset,
        "split": split,
        "vision": vision,
        "text": text,
        "pairs": pairs,
        "add": tuple(add or ()),
        "unpaired": tuple(unpaired or ()),
        "memory": None if memory is None else byte_count("--memory", memory),
    }
    from structure.cli.sweeps import SweepFlags, run_sweep
    from structure.pipeline.recipe.steps import runs_of
    from structure.pipeline.requests import AlignRequest
    from structure.pipeline.run_context import RunContext
    from structure.pipeline.stages.align import SHORT_TRAINING, plan

    flags = SweepFlags(grid or (), seeds, seed, compare, curve, suite)
    recipe = flags.recipe(layers, name=name, options=options, stored={**data, "test": test})
    named = {key: data[key] for key in ("dataset", "split", "vision", "text", "pairs")}
    request, runs = AlignRequest(recipe.cells[0].layers.given, options=options, **named), len(runs_of(recipe))
    context = RunContext.of(store, data_root=data_root, device=device, trust_remote_code=trust_remote_code)
    if dry_run:
        show_ahead(terminal, store, [part.row() for part in plan(request, context, runs=runs)])
        return
    agreed(lambda: plan(request, context, runs=runs, probe_from=SHORT_TRAINING), yes=yes)
    if flags.are_given:
        run_sweep(recipe, context, terminal, tensorboard=tensorboard)
        return
    from structure.pipeline.stages.align import align as run

    with terminal.working() as listener, logged(listener, tensorboard) as telling:
        done = run(
            layers,
            store=store,
            options=options,
            test=test or 0.0,
            name=name,
            data_root=data_root,
            trust_remote_code=trust_remote_code,
            on_event=telling,
            **data,
        )
    show_aligned(terminal, done, store)
