"""One call for a matrix of scores: every vision layer against every text layer, under any measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from structure.pipeline.similarity.clamp import Clamp, Clamped, clamp_levels
from structure.pipeline.similarity.k_rules import k_of
from structure.pipeline.similarity.knn.neighbours import MEMORY, neighbours
from structure.pipeline.similarity.knn.unit_rows import RowSlices, check_finite, shape_of
from structure.pipeline.similarity.measures import OF_TABLES, Measure, of_tables
from structure.pipeline.similarity.neighbour_overlap import shared_counts
from structure.store.errors import StructureError, unknown

Metric = Literal[
    "mutual_knn",
    "multiscale_knn",
    "cka",
    "unbiased_cka",
    "rbf_cka",
    "unbiased_rbf_cka",
    "cknna",
    "cycle_knn",
    "lcs_knn",
    "edit_distance_knn",
    "svcca",
]
METRICS: tuple[str, ...] = get_args(Metric)
OF_NEIGHBOURS: tuple[str, ...] = (*OF_TABLES, "cknna")
"""The measures that need neighbour tables."""


def mutual_knn(x: RowSlices, y: RowSlices, *, k: int | str) -> float:
    """mean_i |N_x(i) n N_y(i)| / k of two layers with the same rows; chance is k / (rows - 1). Huh et al. 2024,
    appendix A."""
    rows = same_rows([x], [y])
    k = k_of(k, rows)
    tables = (neighbours(layer, k=k, name=name) for layer, name in ((x, "x"), (y, "y")))
    return float(shared_counts(*tables).sum() / (rows * k))


def layer_similarity(
    vision_layers: Sequence[RowSlices],
    text_layers: Sequence[RowSlices],
    *,
    metric: str = "mutual_knn",
    k: int | str = 10,
    eps: float = 1e-6,
    clamp: Clamp | None = None,
    normalise: bool = True,
    memory: int = MEMORY,
) -> np.ndarray:
    """`(Lv, Lt)` float64 scores; row i of every `(rows, width)` layer is the same item. See `METRICS`.

    Layers are NumPy arrays, tensors on any device, or row sources read by slices. Rows are L2-normalised
    (`normalise=False`, CKA and SVCCA only, takes them as they are). `k` is a number or a rule of `k_of`, for the
    neighbour measures. `eps` stands in the CKA family's denominator: 1e-6 as in the public code, 0 for the exact
    quotient. `clamp` is platonic-rep's preprocessing, per modality. `cycle_knn` goes text -> vision -> back. Raises
    StructureError for an unknown measure, rows that differ or are too few, and NaN or infinity (names layer and row).
    """
    metric = metric_named(metric)
    rows = same_rows(vision_layers, text_layers)
    vision: list[RowSlices] = list(vision_layers)
    text: list[RowSlices] = list(text_layers)
    for side, layers in (("vision", vision), ("text", text)):
        if metric not in OF_NEIGHBOURS or clamp is not None:
            for number, layer in enumerate(layers):
                _check(layer, f"{side} {number}")
    if clamp is not None:
        vision = [Clamped(layer, level) for layer, level in zip(vision, clamp_levels(vision, clamp), strict=True)]
        text = [Clamped(layer, level) for layer, level in zip(text, clamp_levels(text, clamp), strict=True)]
    tables = None
    if metric in OF_NEIGHBOURS:
        if not normalise:
            raise ValueError(f"{metric} compares cosines: rows are always normalised")
        depth = k_of(k, rows)
        ours, theirs = (
            np.stack([neighbours(x, k=depth, memory=memory, name=f"{side} {i}") for i, x in enumerate(layers)])
            for side, layers in (("vision", vision), ("text", text))
        )
        tables = ours, theirs
    return measure_of(metric, vision, text, tables=tables, eps=eps, normalise=normalise, memory=memory).scores()


def metric_named(metric: str) -> str:
    """The measure's name with underscores (`mutual-knn` is accepted). Raises StructureError, offering the nearest."""
    name = metric.replace("-", "_")
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    return name


def measure_of(
    metric: str,
    vision: Sequence[RowSlices],
    text: Sequence[RowSlices],
    *,
    tables: tuple[np.ndarray, np.ndarray] | None = None,
    eps: float = 1e-6,
    normalise: bool = True,
    memory: int = MEMORY,
) -> Measure:
    """The measure of that name over both sides' layers; `tables` are their `(layers, rows, k)` neighbours, for
    `OF_NEIGHBOURS`."""
    if metric in OF_NEIGHBOURS:
        if tables is None:
            raise ValueError(f"{metric} needs neighbour tables")
        if metric == "cknna":
            from structure.pipeline.similarity.cknna import cknna_of

            return cknna_of(vision, text, tables, eps=eps)
        return of_tables(metric, *tables)
    if metric == "svcca":
        from structure.pipeline.similarity.svcca import svcca_of

        return svcca_of(vision, text, normalise=normalise)
    from structure.pipeline.similarity.cka import Cka

    return Cka(
        vision,
        text,
        unbiased=metric.startswith("unbiased"),
        sigma=1.0 if metric.endswith("rbf_cka") else None,
        eps=eps,
        normalise=normalise,
        memory=memory,
    )


def same_rows(vision: Sequence[RowSlices], text: Sequence[RowSlices]) -> int:
    """The row count that all layers share. Raises StructureError where there is no layer or counts differ."""
    counts = {}
    for side, layers in (("vision", vision), ("text", text)):
        if not len(layers):
            raise StructureError(f"There is no {side} layer to compare. Extract one, or widen --layers.")
        for number, layer in enumerate(layers):
            counts[f"{side} {number}"] = shape_of(layer, f"{side} {number}")[0]
    first, rows = next(iter(counts.items()))
    for name, count in counts.items():
        if count != rows:
            raise StructureError(
                f"Layer {first} has {rows} rows and layer {name} has {count}: row i of both must be the same item, "
                "or their neighbours cannot be compared. Extract both over the same dataset, split and --limit."
            )
    return rows


def _check(layer: RowSlices, name: str) -> None:
    rows = int(layer.shape[0])
    for start in range(0, rows, 4096):
        part = layer[start : min(start + 4096, rows)]
        part = part.detach().to("cpu").double().numpy() if hasattr(part, "detach") else np.asarray(part)
        check_finite(part, start, name)
