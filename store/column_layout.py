"""Where the vectors of every row of a column lie: from rows to chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from structure.store.column import Column
from structure.store.shard_ranges import Shard, overlapping

CHUNK_BYTES = 16 * 2**20
"""What one chunk of tokens holds at most: a reader of one row reads one chunk."""

WASTE = 20
"""The chunks of a feature set hold at most one part in `WASTE` more than the real tokens."""


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
    """Where the vectors of every row of a column lie; arithmetic that touches no disk.

    The vectors of one shard are one run. A run is cut into chunks of one size, so that no chunk belongs to two shards:
    two writers never meet in a file. What the last chunk of a run holds too much is waste on the disk, and is bounded.

    `shards` are those of the feature set, of `shard_rows` rows but for the last; `lengths` (rows,) int64 are the
    vectors of each row where rows differ (texts).
    """

    column: Column
    shards: Sequence[Shard]
    shard_rows: int
    lengths: np.ndarray | None = None

    @property
    def chunk_vectors(self) -> int:
        """Vectors in a chunk."""
        return (self.column.chunk or self.shard_rows) * (self.column.tokens or 1)

    @cached_property
    def first(self) -> list[int]:
        """Number of each shard's first chunk, and behind the last the number of all chunks."""
        runs = _runs(self.shards, self.lengths)
        return first_chunks(runs, self.column.chunk or self.shard_rows)

    def chunk_key(self, number: int) -> str:
        """The file of one chunk in the feature set."""
        return f"{self.column.path}/c/{number}{'/0' if self.column.is_pooled or self.column.tokens is None else '/0/0'}"

    def offsets(self, start: int, stop: int) -> np.ndarray:
        """(stop - start + 1,) int64: where each of the rows `[start, stop)` begins among their vectors, and where the
        last one ends."""
        if self.lengths is None:
            return np.arange(stop - start + 1, dtype=np.int64) * (self.column.tokens or 1)
        return np.concatenate([[0], np.cumsum(self.lengths[start:stop], dtype=np.int64)])

    def starts(self) -> np.ndarray:
        """(rows,) int64: where each row begins in the whole array `(token, feature)`."""
        size, shards = self.chunk_vectors, self.shards
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
        for index in overlapping(start, stop, self.shard_rows):
            shard = self.shards[index]
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


def chunk_size(runs: Sequence[int], most: int) -> int:
    """The largest power of two, at most `most`, that wastes at most a `WASTE`th of the runs' tokens (1 always does)."""
    total, size = sum(runs), 1
    while size * 2 <= most and chunk_count(runs, size * 2) * size * 2 * WASTE <= total * (WASTE + 1):
        size *= 2
    return size


def chunk_count(runs: Sequence[int], size: int) -> int:
    """How many chunks the runs take."""
    return first_chunks(runs, size)[-1]


def first_chunks(runs: Sequence[int], size: int) -> list[int]:
    """The number of each run's first chunk, and behind the last the number of all chunks."""
    first = [0]
    for run in runs:
        first.append(first[-1] + -(-run // size))
    return first


def _runs(shards: Sequence[Shard], lengths: np.ndarray | None) -> list[int]:
    """What each shard puts into chunks: vectors where rows differ, else rows."""
    if lengths is None:
        return [len(shard) for shard in shards]
    return [int(lengths[shard.start : shard.stop].sum()) for shard in shards]
