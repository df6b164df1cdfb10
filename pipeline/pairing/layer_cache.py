"""Layers that are read once for many runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from structure.store import JoinedRows, Rows


class LayerCache:
    """Whole layers in memory: at most `most` bytes, what is beyond is read again each time."""

    def __init__(self, most: int = 4 << 30) -> None:
        self.most = most
        self._layers: dict[tuple[str, str, str], np.ndarray] = {}

    def read(self, rows: Rows | JoinedRows) -> Any:
        """The rows of a pooled layer, (n, width) in the stored dtype, or of several, as `JoinedRows` of them. Raises as
        reading them does."""
        if isinstance(rows, JoinedRows):
            return JoinedRows([self.read(part) for part in rows.parts])
        features = rows.features
        key = (features.key, features.fingerprint, rows.path)
        if key not in self._layers:
            size = len(features) * rows.column.vector_bytes
            if sum(values.nbytes for values in self._layers.values()) + size > self.most:
                return np.asarray(rows[:])
            valid = np.flatnonzero(features.valid)
            whole = np.zeros((len(features), rows.width), dtype=rows.dtype)
            whole[valid] = Rows(features, rows.path, valid)[:]
            self._layers[key] = whole
        return np.asarray(self._layers[key][rows.numbers])
