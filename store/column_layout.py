"""One stored array of a feature set, and where the vectors of its rows lie in its chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from structure.store.shard_ranges import Shard, overlapping

TOKENS = "tokens"
"""The subgroup of the token arrays; `tokens/<layer>` names a token column where pooled columns are named too."""

MOST = 2**40
"""Rows, or numbers in a row, beyond which a manifest is damaged and not large."""

CHUNK_BYTES = 16 * 2**20
"""What one chunk of tokens holds at most: a reader of one row reads one chunk."""

WASTE = 20
"""The chunks of a feature set hold at most one part in `WASTE` more than the real tokens."""


@dataclass(frozen=True)
class Column:
    """A layer under one pooling, or the tokens of a layer; a pooled layer is a column with one token a row.

    `dtype` is `float16` or `float32`. `tokens`: how many vectors a row has, of which the first `prefix` are no patches
    and the others a `grid` (height, width); None where rows differ (texts), whose lengths lie beside the arrays.
    `chunk`: rows in a chunk, or vectors where rows differ; 0 in a pooled layer, whose chunk is a whole shard. `chunks`:
    how many there are, where `chunk` says so.
    """

    name: str
    width: int
    dtype: str = "float16"
    tokens: int | None = 1
    prefix: int = 0
    grid: tuple[int, int] | None = None
    chunk: int = 0
    chunks: int = 0

    def __post_init__(self) -> None:
        counts = [self.width] if self.is_pooled else [self.width, self.chunk, self.chunks, self.tokens or 1]
        if not all(type(n) is int and 1 <= n <= MOST for n in counts) or self.dtype not in ("float16", "float32"):
            raise ValueError(f"column {self.name}: width, chunk, chunks and tokens {counts}, dtype {self.dtype}")
        if self.grid is not None and self.tokens != self.prefix + self.grid[0] * self.grid[1]:
            raise ValueError(f"token column {self.name}: {self.tokens} tokens, {self.prefix} + {self.grid}")

    @property
    def is_pooled(self) -> bool:
        """Whether it has one vector a row and one chunk a shard."""
        return self.chunk == 0

    @property
    def path(self) -> str:
        """Where it lies in the feature set, and its name among all columns."""
        return self.name if self.is_pooled else tokens_path(self.name)

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"layer {self.name}" if self.is_pooled else f"tokens of layer {self.name}"

    @property
    def vector_bytes(self) -> int:
        """Bytes of one vector."""
        return self.width * np.dtype(self.dtype).itemsize

    @property
    def size(self) -> int:
        """Bytes of all its chunks, before compression; 0 in a pooled layer, which does not know the shards."""
        return self.chunks * self.chunk * (self.tokens or 1) * self.vector_bytes

    def to_json(self) -> dict[str, Any]:
        """The fields that the manifest records."""
        names = ("name", "width", "dtype") if self.is_pooled else tuple(field.name for field in fields(self))
        return {name: getattr(self, name) for name in names}

    @classmethod
    def pooled_from_json(cls, body: Mapping[str, Any]) -> Column:
        """Read back a pooled layer. Raises ValueError, KeyError or TypeError."""
        return cls(name=body["name"], width=body["width"], dtype=body["dtype"])

    @classmethod
    def tokens_from_json(cls, body: Mapping[str, Any]) -> Column:
        """Read back a token column. Raises as `pooled_from_json` does."""
        grid = body["grid"]
        column = cls(**{**body, "grid": None if grid is None else (grid[0], grid[1])})
        if column.is_pooled:
            raise ValueError(f"token column {column.name} has chunks of no rows")
        return column


def tokens_path(layer: str) -> str:
    """The path of the column that holds the layer's tokens."""
    return f"{TOKENS}/{layer}"


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

    def count(self, start: int, stop: int) -> int:
        """How many vectors the rows `[start, stop)` have."""
        if self.lengths is None:
            return (stop - start) * (self.column.tokens or 1)
        return int(self.lengths[start:stop].sum())

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
            first = self.count(shard.start, max(start, shard.start))
            last = self.count(shard.start, min(stop, shard.stop))
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
