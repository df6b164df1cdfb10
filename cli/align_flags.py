"""The options of `structure align` in groups: the regulariser, the training, the pairs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from structure.cli import completion

REGULARISER, TRAINING, DATA = "The regulariser R_S", "Training", "Data"
SELECTION = "Selection (--method auto)"


@dataclass(frozen=True, kw_only=True)
class RegulariserFlags:
    """The regulariser R_S."""

    regulariser: Annotated[
        str | None,
        typer.Option("--regulariser", "--regularizer", help="structure (R_S) or none.", rich_help_panel=REGULARISER),
    ] = None
    weight: Annotated[
        str | None,
        typer.Option(
            help="Weight of R_S, or auto: 0, 1 or 10 by cross-validation, the default. 10, as published, in many runs, "
            "under a preset and with --unpaired.",
            rich_help_panel=REGULARISER,
        ),
    ] = None
    levels: Annotated[
        int | None, typer.Option(min=1, help="Levels, as matrix powers.", rich_help_panel=REGULARISER)
    ] = None
    temperature: Annotated[
        float | None,
        typer.Option(help="Of InfoNCE, and of R_S but for --set rs_temperature.", rich_help_panel=REGULARISER),
    ] = None
    divergence: Annotated[
        str | None, typer.Option(help="js (the paper's) or released.", rich_help_panel=REGULARISER)
    ] = None
    similarity: Annotated[
        str | None, typer.Option(help="cosine, rbf or spearman (no gradient).", rich_help_panel=REGULARISER)
    ] = None
    centring: Annotated[str | None, typer.Option(help="mean, none or standard.", rich_help_panel=REGULARISER)] = None
    unpaired: Annotated[
        list[str] | None,
        typer.Option(
            help="DATASET or DATASET/SPLIT: unpaired rows for R_S, sotalign, wasserstein-procrustes and mini-vec2vec, "
            "less those with the content of a pair; repeat.",
            rich_help_panel=REGULARISER,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class TrainingFlags:
    """How to train."""

    epochs: Annotated[int | None, typer.Option(min=1, help="At most this many.", rich_help_panel=TRAINING)] = None
    patience: Annotated[
        int | None, typer.Option(min=1, help="Epochs without gain before it stops.", rich_help_panel=TRAINING)
    ] = None
    dim: Annotated[int | None, typer.Option(min=1, help="Width of the shared space.", rich_help_panel=TRAINING)] = None
    batch: Annotated[int | None, typer.Option(min=2, help="Pairs in a batch.", rich_help_panel=TRAINING)] = None
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--lr", help="Learning rate; without it a learning-rate range test finds one.", rich_help_panel=TRAINING
        ),
    ] = None
    selection: Annotated[
        str | None,
        typer.Option(help="contrastive, retrieval or loss: what picks the epoch.", rich_help_panel=TRAINING),
    ] = None
    refit: Annotated[
        bool, typer.Option("--refit", help="Then train on all pairs for that many epochs.", rich_help_panel=TRAINING)
    ] = False
    ridge: Annotated[
        float | None, typer.Option(help="Of csa and ridge, a share of the mean variance.", rich_help_panel=TRAINING)
    ] = None
    anchors: Annotated[
        int | None, typer.Option(min=1, help="Of pal (learnable) and relative.", rich_help_panel=TRAINING)
    ] = None
    pool_temperature: Annotated[
        float | None, typer.Option(help="Of pal's softmax over tokens.", rich_help_panel=TRAINING)
    ] = None
    pooling: Annotated[
        str | None,
        typer.Option(help="Of pal: attention, mean, query (one a side), global.", rich_help_panel=TRAINING),
    ] = None
    precision: Annotated[
        str | None, typer.Option(help="fp32, or bf16 for the heads' products.", rich_help_panel=TRAINING)
    ] = None
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="OPTION=VALUE: any other training option; repeat.", rich_help_panel=TRAINING),
    ] = None
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard's event files.", rich_help_panel=TRAINING)
    ] = None
    seed: Annotated[
        int | None, typer.Option(help="Of the split, the batches and the first weights.", rich_help_panel=TRAINING)
    ] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.", rich_help_panel=TRAINING)] = "auto"


@dataclass(frozen=True, kw_only=True)
class SelectionFlags:
    """How --method auto selects."""

    candidates: Annotated[
        str | None,
        typer.Option(help="Methods to select from, with commas; without it all of them.", rich_help_panel=SELECTION),
    ] = None
    layer_candidates: Annotated[
        int | None,
        typer.Option(
            min=1, help="The ranking's first N layer pairs (3), the last, two layers a side.", rich_help_panel=SELECTION
        ),
    ] = None
    folds: Annotated[
        int | None, typer.Option(min=2, help="Folds of the training pairs (3).", rich_help_panel=SELECTION)
    ] = None
    select: Annotated[
        str | None,
        typer.Option(help="What is compared: mrr, R@5, image_retrieval_recall@5.", rich_help_panel=SELECTION),
    ] = None
    budget: Annotated[
        str | None, typer.Option(help="Time for the selection, such as 60s or 5m.", rich_help_panel=SELECTION)
    ] = None
    group: Annotated[
        str | None,
        typer.Option(help="Column of the sample index: one value is in one fold.", rich_help_panel=SELECTION),
    ] = None


@dataclass(frozen=True, kw_only=True)
class PairFlags:
    """Which pairs to train on."""

    dataset: Annotated[
        str | None,
        typer.Option(
            help="Dataset; needed only if there are several.",
            autocompletion=completion.kept_datasets,
            rich_help_panel=DATA,
        ),
    ] = None
    split: Annotated[str | None, typer.Option(help="Split; train by default.", rich_help_panel=DATA)] = None
    vision: Annotated[
        str | None, typer.Option(help="Vision features; needed only if there are several.", rich_help_panel=DATA)
    ] = None
    text: Annotated[
        str | None, typer.Option(help="Text features; needed only if there are several.", rich_help_panel=DATA)
    ] = None
    pairs: Annotated[
        str | None,
        typer.Option(help="A seeded subset of N pairs; of many runs several: 100,300.", rich_help_panel=DATA),
    ] = None
    test: Annotated[
        float | None,
        typer.Option(help="Test fraction: share of the pairs that no run trains on.", rich_help_panel=DATA),
    ] = None
    split_column: Annotated[
        str | None,
        typer.Option(
            help="Column of the sample index with train, val, test; or split: the data's own split val selects.",
            rich_help_panel=DATA,
        ),
    ] = None
    add: Annotated[
        list[str] | None,
        typer.Option(help="DATASET:K, K labelled images a class, captioned with it; repeat.", rich_help_panel=DATA),
    ] = None
    memory: Annotated[
        str | None, typer.Option(help="Budget for the two layers, such as 2GB.", rich_help_panel=DATA)
    ] = None


BESIDE = {"unpaired", "setting", "tensorboard", "device"}
"""Fields of the first two groups that are no training option."""


def training_options(flags: object) -> dict[str, Any]:
    """Training options by name, as they were given; None where one was not. Raises StructureError for a weight that is
    neither a number nor auto."""
    from structure.pipeline.aligners.options import TrainingOptions

    names = [field.name for group in (RegulariserFlags, TrainingFlags) for field in fields(group)]
    given = {name: getattr(flags, name) for name in names if name not in BESIDE}
    if given["weight"] not in (None, "auto"):
        given["weight"] = TrainingOptions.parse("weight", given["weight"])
    return {**given, "refit": given["refit"] or None}


def selection_options(flags: object) -> dict[str, Any]:
    """What was said of the selection, by name."""
    given = {field.name: getattr(flags, field.name) for field in fields(SelectionFlags)}
    return {name: value for name, value in given.items() if value is not None}
