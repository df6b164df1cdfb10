"""Where the vectors of every row of a column lie: the run of its shard, and the chunks of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from structure.store.chunk_plan import CHUNK_BYTES, chunk_count, chunk_size, first_chunks
from structure.store.column import Column
from structure.store.manifest import Manifest
from structure.store.shard import Shard, overlapping


@dataclass(frozen=True)
class Span:
    """Vectors `[low, high)` of one chunk: the `chunk`th of the run of the shard `index`, the `number`th of the column.
    `place` is where they go among all vectors that are read."""

    index: int
    chunk: int
    number: int
    low: int
    high: int
    place: int


@dataclass(frozen=True, eq=False)
class ColumnLayout:
    """The places of one column. `lengths` (rows,) int64 are the vectors of each row where rows differ (texts)."""

    manifest: Manifest
    column: Column
    lengths: np.ndarray | None = None

    @property
    def chunk_vectors(self) -> int:
        """Vectors in a chunk."""
        return (self.column.chunk or self.manifest.shard_rows) * (self.column.tokens or 1)

    @cached_property
    def first(self) -> list[int]:
        """Number of each shard's first chunk, and behind the last the number of all chunks."""
        runs = _runs(self.manifest.shards, self.lengths)
        return first_chunks(runs, self.column.chunk or self.manifest.shard_rows)

    def offsets(self, start: int, stop: int) -> np.ndarray:
        """(stop - start + 1,) int64: where each of the rows `[start, stop)` begins among their vectors, and where the
        last one ends."""
        if self.lengths is None:
            return np.arange(stop - start + 1, dtype=np.int64) * (self.column.tokens or 1)
        return np.concatenate([[0], np.cumsum(self.lengths[start:stop], dtype=np.int64)])

    def starts(self) -> np.ndarray:
        """(rows,) int64: where each row begins in the whole array `(token, feature)`."""
        size, shards = self.chunk_vectors, self.manifest.shards
        return np.concatenate(
            [
                first * size + self.offsets(shard.start, shard.stop)[:-1]
                for first, shard in zip(self.first[:-1], shards, strict=True)
            ]
        )

    def spans(self, start: int, stop: int) -> list[Span]:
        """Where the vectors of the rows `[start, stop)` lie, in their order; no chunk without one of them."""
        spans: list[Span] = []
        size, place = self.chunk_vectors, 0
        for index in overlapping(start, stop, self.manifest.shard_rows):
            shard = self.manifest.shards[index]
            run = self.offsets(shard.start, min(stop, shard.stop))
            first, last = int(run[max(start, shard.start) - shard.start]), int(run[-1])
            for chunk in overlapping(first, last, size):
                low, high = max(first, chunk * size), min(last, (chunk + 1) * size)
                number, begin = self.first[index] + chunk, chunk * size
                spans.append(Span(index, chunk, number, low - begin, high - begin, place + low - first))
            place += last - first
        return spans


def plan_tokens(
    layer: Column,
    shards: Sequence[Shard],
    *,
    lengths: np.ndarray | None = None,
    chunk: int | None = None,
) -> Column:
    """The column that keeps the tokens of `layer` (its name, width, dtype, tokens, prefix and grid): `tokens` a row, or
    `lengths` (rows,) of them; `chunk` where that is settled already."""
    runs, tokens = _runs(shards, lengths), None if lengths is not None else layer.tokens
    if chunk is None:
        most = CHUNK_BYTES // ((tokens or 1) * layer.vector_bytes)
        chunk = chunk_size(runs, min(max(most, 1), max(len(shard) for shard in shards) if tokens else most))
    return replace(layer, tokens=tokens, chunk=chunk, chunks=chunk_count(runs, chunk))


def _runs(shards: Sequence[Shard], lengths: np.ndarray | None) -> list[int]:
    """What each shard puts into chunks: vectors where rows differ, else rows."""
    if lengths is None:
        return [len(shard) for shard in shards]
    return [int(lengths[shard.start : shard.stop].sum()) for shard in shards]
