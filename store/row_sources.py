"""What shuffled reading reads: chosen rows of one layer, pooled or with all tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from structure.store.feature_set import FeatureSet
from structure.store.tokens import Tokens


@dataclass(frozen=True, eq=False)
class RowRange:
    """Rows `[start, stop)` of a feature set, `units` in all; each wanted row is `lengths` units from `begins` on."""

    start: int
    stop: int
    units: int
    begins: np.ndarray
    lengths: np.ndarray


class RowSource(ABC):
    """Rows of one layer of a feature set, all by default; `rows` are row numbers in ascending order. A unit is what is
    stored behind one another: a row, or a token. A chunk is checked when it is read for the first time. Raises
    ValueError for rows that do not ascend."""

    width: int
    dtype: np.dtype
    in_place = False
    """Whether units are looked at where they lie and take no memory."""

    def __init__(self, features: FeatureSet, layer: str, rows: np.ndarray | None = None) -> None:
        self.features, self.layer = features, layer
        self._checked: set[str] = set()
        self.rows = np.arange(len(features)) if rows is None else np.asarray(rows, dtype=np.int64)
        if not len(self.rows) or (np.diff(self.rows) < 0).any():
            raise ValueError(f"{features.key}, {layer}: shuffled reading takes ascending rows, at least one")

    @property
    def unit_bytes(self) -> int:
        """Bytes of a unit."""
        return self.width * self.dtype.itemsize

    def read_units(self, places: RowRange) -> int:
        """How many of the units are read into memory."""
        return 0 if self.in_place else places.units

    @property
    @abstractmethod
    def chunk_rows(self) -> int:
        """About how many rows one chunk on the disk holds."""

    @abstractmethod
    def places(self, first: int, last: int) -> RowRange:
        """Where the rows `self.rows[first:last]` lie among those that are read for them."""

    @abstractmethod
    def pieces(self, places: RowRange, space: np.ndarray) -> list[np.ndarray]:
        """The units in pieces (n, width), one behind the other: `space` (units, width), which they are read into, or,
        `in_place`, where they lie."""

    @abstractmethod
    def batch(self, units: np.ndarray, offsets: np.ndarray) -> np.ndarray | Tokens:
        """A batch of n rows from its units; `offsets` (n + 1,): where those of each row begin, and where they end."""


class LayerSource(RowSource):
    """Rows of a pooled layer; a batch is an array (n, width)."""

    def __init__(self, features: FeatureSet, layer: str, rows: np.ndarray | None = None) -> None:
        super().__init__(features, layer, rows)
        column = features.column(layer)
        self.width, self.dtype, self.in_place = column.shape[1], column.dtype, features.in_place

    @property
    def chunk_rows(self) -> int:
        return self.features.manifest.shard_rows

    def places(self, first: int, last: int) -> RowRange:
        rows = self.rows[first:last]
        start, stop = int(rows[0]), int(rows[-1]) + 1
        return RowRange(start, stop, stop - start, rows - start, np.ones(len(rows), dtype=np.int64))

    def pieces(self, places: RowRange, space: np.ndarray) -> list[np.ndarray]:
        if self.in_place:
            return self.features.view_rows(self.layer, places.start, places.stop, checked=self._checked)
        self.features.read_rows(self.layer, places.start, space, checked=self._checked)
        return [space]

    def batch(self, units: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        return units


class TokenSource(RowSource):
    """All tokens of a layer; a batch is `Tokens`."""

    def __init__(self, features: FeatureSet, layer: str, rows: np.ndarray | None = None) -> None:
        super().__init__(features, layer, rows)
        self._column = features.token_column(layer)
        self.width, self.dtype = self._column.width, np.dtype(self._column.dtype)
        self._skipped = np.array(sorted(features.skipped), dtype=np.int64)

    @property
    def chunk_rows(self) -> int:
        return max(1, len(self.features) // self._column.chunks)

    def places(self, first: int, last: int) -> RowRange:
        rows = self.rows[first:last]
        start, stop = int(rows[0]), int(rows[-1]) + 1
        offsets = self.features.token_offsets(self.layer, start, stop)
        lengths = np.diff(offsets)[rows - start]
        lengths[np.isin(rows, self._skipped)] = 0
        return RowRange(start, stop, int(offsets[-1]), offsets[rows - start], lengths)

    def pieces(self, places: RowRange, space: np.ndarray) -> list[np.ndarray]:
        self.features.read_tokens(self.layer, places.start, places.stop, space, checked=self._checked)
        return [space]

    def batch(self, units: np.ndarray, offsets: np.ndarray) -> Tokens:
        return Tokens(units, offsets, self._column.prefix, self._column.grid)
