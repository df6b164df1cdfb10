"""Several layers of one feature set side by side, as one layer: `block.13+pooled`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from structure.store.errors import StructureError, unknown
from structure.store.feature_set import FeatureSet
from structure.store.lazy_rows import Rows

SIGN = "+"
"""Between the names of layers that are taken side by side."""

SHORTEST = 1e-12
"""Rows that are shorter stay as they are: they have no direction."""


class JoinedRows:
    """Rows of several layers side by side, each layer's scaled to unit length: layers differ in length by orders of
    magnitude, and the longest would be all that counts.

    `parts` are `Rows` or arrays, each (n, width) of the same samples. `joined[start:stop]` reads (n, sum of the widths)
    float32; `joined[numbers]` selects rows as the parts do. Raises ValueError for parts with other numbers of rows.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, parts: Sequence[Any]) -> None:
        counts = {len(part) for part in parts}
        if len(counts) != 1:
            raise ValueError(f"layers of {sorted(counts)} rows cannot be side by side")
        self.parts = tuple(parts)
        self.widths = tuple(int(part.shape[1]) for part in parts)
        self.shape = (counts.pop(), sum(self.widths))

    def __len__(self) -> int:
        return self.shape[0]

    @overload
    def __getitem__(self, part: slice) -> np.ndarray: ...
    @overload
    def __getitem__(self, part: np.ndarray) -> JoinedRows: ...
    def __getitem__(self, part: slice | np.ndarray) -> np.ndarray | JoinedRows:
        if isinstance(part, slice):
            return side_by_side([np.asarray(one[part]) for one in self.parts])
        return JoinedRows([one[part] for one in self.parts])

    def loaded(self) -> JoinedRows:
        """The same with all parts in memory."""
        return JoinedRows([np.asarray(one[:]) for one in self.parts])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


def side_by_side(layers: Sequence[np.ndarray]) -> np.ndarray:
    """(n, sum of the widths) float32: unit rows of arrays (n, width), beside each other. A row of zeros stays one."""
    parts = [layer.astype(np.float32) for layer in layers]
    for part in parts:
        part /= np.linalg.norm(part, axis=1, keepdims=True).clip(SHORTEST)
    return np.concatenate(parts, axis=1)


def layer_names(features: FeatureSet, layer: str) -> tuple[str, ...]:
    """The stored layers that a name means: that layer, or those that it joins with `+`.

    Raises StructureError for a layer that is not stored, with the nearest names, and for one that is named twice.
    """
    if layer in features.layers:
        return (layer,)
    names = tuple(layer.split(SIGN))
    for name in names:
        if name not in features.layers:
            of = f", of {layer}" if name != layer else ""
            raise unknown("layer", name, features.layers, hint=f"It was looked for in {features.key}{of}.")
    if len(set(names)) < len(names):
        raise StructureError(
            f"{layer} names a layer twice: side by side with itself it says nothing more. Name it once."
        )
    return names


def is_joined(features: FeatureSet, layer: str) -> bool:
    """Whether a name means several layers."""
    return layer not in features.layers and SIGN in layer


def has_layers(features: FeatureSet, layer: str) -> bool:
    """Whether all layers that a name means are stored."""
    return layer in features.layers or set(layer.split(SIGN)) <= set(features.layers)


def layer_rows(features: FeatureSet, layer: str, numbers: np.ndarray | None = None) -> Rows | JoinedRows:
    """`Rows` of a layer, or of layers joined with `+`. Raises as `layer_names` does."""
    parts = [Rows(features, name, numbers) for name in layer_names(features, layer)]
    return parts[0] if len(parts) == 1 else JoinedRows(parts)


def loaded(rows: Rows | JoinedRows) -> Any:
    """All of the rows in memory: an array, or `JoinedRows` of arrays."""
    return rows.loaded() if isinstance(rows, JoinedRows) else rows[:]


def row_width(features: FeatureSet, layer: str) -> int:
    """Numbers in a row of `layer_rows`. Raises as `layer_names` does."""
    return sum(features.column(name).width for name in layer_names(features, layer))


def row_bytes(features: FeatureSet, layer: str) -> int:
    """Bytes of a row of `layer_rows` in memory. Raises as `layer_names` does."""
    names = layer_names(features, layer)
    if len(names) == 1:
        return features.column(layer).vector_bytes
    return row_width(features, layer) * JoinedRows.dtype.itemsize
