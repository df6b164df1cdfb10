"""Rows of one layer of a feature set, read on demand: the one form in which layers are taken from the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import overload

import numpy as np

from structure.store.cast import all_finite
from structure.store.chunk import page_aligned
from structure.store.errors import DamageError
from structure.store.feature_set import FeatureSet
from structure.store.tokens_in_memory import Tokens

Values = np.ndarray | Tokens
"""Vectors of rows: (n, width) of a pooled layer, or the tokens of n rows."""

READ_BYTES = 32 * 2**20
"""Vectors that are read at a time where the wanted rows lie apart."""


class Rows:
    """Rows `numbers` (n,) of one layer of a feature set, in any order; all of them by default.

    `path` is a layer, or `tokens/<layer>`. `rows[start:stop]` reads: an array (n, width) of a pooled layer, or
    `Tokens`, in the stored dtype; `rows[numbers]` selects among them and reads nothing. Nothing is opened before
    something is read, and it can be pickled. Of all rows, skipped ones are NaN (a skipped row has no token).

    Raises StructureError for a layer that is not stored; when reading, as `FeatureSet.rows` does, and DamageError for a
    chosen row that holds a NaN or an infinity.
    """

    ndim = 2

    def __init__(self, features: FeatureSet, path: str, numbers: np.ndarray | None = None) -> None:
        self.features, self.path, self.column = features, path, features.column(path)
        self.are_chosen = numbers is not None
        self.numbers = np.arange(len(features)) if numbers is None else np.asarray(numbers, dtype=np.int64)
        self.width, self.dtype = self.column.width, np.dtype(self.column.dtype)
        self.shape = (len(self.numbers), self.width)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, part: slice) -> Values: ...
    @overload
    def __getitem__(self, part: np.ndarray) -> Rows: ...
    def __getitem__(self, part: slice | np.ndarray) -> Values | Rows:
        if isinstance(part, slice):
            return self._read(self.numbers[part])
        return Rows(self.features, self.path, self.numbers[part])

    def lengths(self, numbers: np.ndarray) -> np.ndarray:
        """(n,) int64 vectors of each of these rows of the feature set: 1 in a pooled layer, none of a skipped row's
        tokens."""
        if self.column.is_pooled:
            return np.ones(len(numbers), dtype=np.int64)
        layout = self.features.layout(self.path)
        lengths: np.ndarray = np.diff(layout.offsets(0, len(self.features)))[numbers]
        lengths[np.isin(numbers, self.features.known_skipped)] = 0
        return lengths

    def values(self, vectors: np.ndarray, offsets: np.ndarray) -> Values:
        """Vectors of n rows as what reading gives; `offsets` (n + 1,): where those of each row begin and end."""
        return vectors if self.column.is_pooled else Tokens(vectors, offsets, self.column.prefix, self.column.grid)

    def _read(self, numbers: np.ndarray) -> Values:
        lengths = self.lengths(numbers)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        out = page_aligned((int(offsets[-1]), self.width), self.dtype)
        order = np.argsort(numbers, kind="stable")
        for low, high in self._runs(numbers[order]):
            self._read_run(numbers[order[low:high]], lengths[order[low:high]], offsets[order[low:high]], out)
        if self.are_chosen:
            self._require_finite(numbers, offsets, out)
        return self.values(out, offsets)

    def _runs(self, ascending: np.ndarray) -> Iterator[tuple[int, int]]:
        """Rows that are read together: all of them where none is left out, else those that few bytes hold."""
        if not len(ascending):
            return
        if ascending[-1] - ascending[0] == len(ascending) - 1 and (np.diff(ascending) == 1).all():
            yield 0, len(ascending)
            return
        starts = ascending
        if not self.column.is_pooled:
            starts = self.features.layout(self.path).offsets(0, len(self.features))[ascending]
        shards, low, most = ascending // self.features.manifest.shard_rows, 0, READ_BYTES // self.column.vector_bytes
        while low < len(ascending):
            high = int(np.searchsorted(shards, shards[low], side="right"))
            high = min(high, int(np.searchsorted(starts, starts[low] + most, side="right")))
            yield low, high
            low = high

    def _read_run(self, rows: np.ndarray, lengths: np.ndarray, begins: np.ndarray, out: np.ndarray) -> None:
        """Put the vectors of ascending rows, `lengths` of each, to where those of each begin in `out`."""
        files, first, stop = self.features.column_reader(self.path), int(rows[0]), int(rows[-1]) + 1
        offsets = files.layout.offsets(first, stop)
        total, markers = int(offsets[-1]), self.features.completion.known()
        each_once = (np.diff(rows) == 1).all() and total == lengths.sum()
        if each_once and (begins == begins[0] + np.cumsum(lengths) - lengths).all():
            files.read(first, stop, out[begins[0] : begins[0] + total], markers)
            return
        space = page_aligned((total, self.width), self.dtype)
        files.read(first, stop, space, markers)
        if self.column.is_pooled:
            out[begins] = space[rows - first]
        else:
            for begin, length, low in zip(begins, lengths, offsets[rows - first], strict=True):
                out[begin : begin + length] = space[low : low + length]

    def _require_finite(self, numbers: np.ndarray, offsets: np.ndarray, vectors: np.ndarray) -> None:
        if all_finite(vectors):
            return
        vector = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        row = int(numbers[np.searchsorted(offsets, vector, side="right") - 1])
        features = self.features
        raise DamageError(
            f"{features.key}, {self.column.label}: sample {features.ids[row]} (row {row}) holds a NaN or an infinity. "
            f"One such row spoils whatever is computed. Repair the feature set {features.key}, or take another layer.",
            feature_set=features.key,
        )
