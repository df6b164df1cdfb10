"""platonic-rep's preprocessing: entries beyond +-q are set to +-q before rows are normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from structure.pipeline.similarity.knn.unit_rows import RowSlices
from structure.store.errors import unknown

Clamp = Literal["exact", "approx", "per_layer"]
SHARE = 0.95
_STEP = 2048


def clamp_levels(layers: Sequence[RowSlices], clamp: Clamp) -> list[float]:
    """One q per layer of a modality.

    "exact": entry floor(0.95 size) of the sorted |x| of all layers together. "per_layer": the same within each layer
    (what the public code does when layers come as a list). "approx": mean over rows of the row's 0.95 quantile
    (linear interpolation) of |x| over layers and columns. Source: `remove_outliers` of minyoungg/platonic-rep.
    """
    if clamp not in get_args(Clamp):
        raise unknown("clamp", str(clamp), get_args(Clamp))
    sizes = [_stored(layer, 0, len_of(layer)) for layer in layers] if clamp != "approx" else []
    if clamp == "per_layer":
        return [_entry(np.abs(values).ravel()) for values in sizes]
    if clamp == "exact":
        return [_entry(np.concatenate([np.abs(values).ravel() for values in sizes]))] * len(layers)
    rows = len_of(layers[0])
    total = 0.0
    for start in range(0, rows, _STEP):
        stop = min(start + _STEP, rows)
        both = np.concatenate([np.abs(_stored(layer, start, stop)) for layer in layers], axis=1)
        total += float(np.quantile(both.astype(np.float64), SHARE, axis=1).sum())
    return [total / rows] * len(layers)


def len_of(layer: RowSlices) -> int:
    return int(layer.shape[0])


def _entry(sizes: np.ndarray) -> float:
    index = min(int(SHARE * sizes.size), sizes.size - 1)
    return float(np.partition(sizes, index)[index])


def _stored(layer: RowSlices, start: int, stop: int) -> np.ndarray:
    """Values as stored: `read` scales float64 rows, which a clamp must not see."""
    part: Any = layer[start:stop]
    if hasattr(part, "detach"):
        part = part.detach().to("cpu")
        part = (part if str(part.dtype) == "torch.float64" else part.float()).numpy()
    return np.asarray(part)


@dataclass(frozen=True)
class Clamped:
    """A layer whose slices are clamped to +-`level` as they are read; float32 layers are clamped in float32."""

    layer: RowSlices
    level: float

    @property
    def shape(self) -> Any:
        return self.layer.shape

    def __getitem__(self, key: slice) -> np.ndarray:
        values = _stored(self.layer, key.start or 0, len_of(self.layer) if key.stop is None else key.stop)
        return np.asarray(np.clip(values, values.dtype.type(-self.level), values.dtype.type(self.level)))


def clamped(layers: Sequence[RowSlices], clamp: Clamp) -> list[RowSlices]:
    """The layers of one modality, each clamped to its level of `clamp_levels`."""
    return [Clamped(layer, level) for layer, level in zip(layers, clamp_levels(layers, clamp), strict=True)]
