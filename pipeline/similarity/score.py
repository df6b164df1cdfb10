"""One call for a matrix of scores: every vision layer against every text layer, by any similarity metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from structure.pipeline.similarity.clamp import Clamp, clamped
from structure.pipeline.similarity.k_rules import k_of
from structure.pipeline.similarity.knn.neighbours import MEMORY, neighbours
from structure.pipeline.similarity.knn.unit_rows import RowSlices, check_finite, shape_of
from structure.pipeline.similarity.metric import ComparedLayers
from structure.pipeline.similarity.neighbour_overlap import shared_counts
from structure.pipeline.similarity.registry import SIMILARITIES, metric_named
from structure.store.errors import StructureError


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
    clamp: Clamp | None = None,
    memory: int = MEMORY,
    **options: Any,
) -> np.ndarray:
    """`(Lv, Lt)` float64 scores; row i of every `(rows, width)` layer is the same sample.

    Layers are NumPy arrays, tensors on any device, or row sources read by slices. `metric` is a name of
    `similarity.registry`. `k` is a number or a rule of `k_of`, for the neighbour metrics. `clamp` is platonic-rep's
    preprocessing, per modality. `options` are the metric's own: `eps` (CKA family and CKNNA) stands in the denominator,
    1e-6 as in the public code, 0 for the exact quotient; `normalise=False` (CKA and SVCCA) takes rows as they are,
    which are else L2-normalised; `sigma` (RBF kernels); `directions` (SVCCA). Raises StructureError for an unknown
    metric or option, rows that differ or are too few, and NaN or infinity (names layer and row).
    """
    name = metric_named(metric)
    kind = SIMILARITIES[name]
    own_options = kind.accepted(name, options)
    rows = same_rows(vision_layers, text_layers)
    sides: dict[str, list[RowSlices]] = {"vision": list(vision_layers), "text": list(text_layers)}
    if clamp is not None or not kind.needs_neighbours:  # the search for neighbours checks what it reads
        for side, layers in sides.items():
            for number, layer in enumerate(layers):
                _check(layer, f"{side} {number}")
    if clamp is not None:
        sides = {side: clamped(layers, clamp) for side, layers in sides.items()}
    tables = None
    if kind.needs_neighbours:
        depth = k_of(k, rows)
        vision, text = (
            np.stack([neighbours(x, k=depth, memory=memory, name=f"{side} {i}") for i, x in enumerate(layers)])
            for side, layers in sides.items()
        )
        tables = vision, text
    layers_compared = ComparedLayers(**sides, tables=tables, memory=memory)
    return kind(layers_compared, **own_options).scores()


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
                f"Layer {first} has {rows} rows and layer {name} has {count}: row i of both must be the same sample, "
                "or their neighbours cannot be compared. Extract both over the same dataset, split and --limit."
            )
    return rows


def _check(layer: RowSlices, name: str) -> None:
    rows = int(layer.shape[0])
    for start in range(0, rows, 4096):
        part = layer[start : min(start + 4096, rows)]
        part = part.detach().to("cpu").double().numpy() if hasattr(part, "detach") else np.asarray(part)
        check_finite(part, start, name)
