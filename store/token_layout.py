"""Where every row's tokens lie: the run of its shard, and the chunks of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from structure.store.manifest import TokenColumn
from structure.store.shard import Shard
from structure.store.token_plan import CHUNK_BYTES, chunk_count, chunk_size, first_chunks


@dataclass(frozen=True, eq=False)
class TokenLayout:
    """The places of one token column. `lengths` (rows,) int64 are the token counts of texts, None for images."""

    column: TokenColumn
    shards: Sequence[Shard]
    lengths: np.ndarray | None = None

    @cached_property
    def first(self) -> list[int]:
        """Number of each shard's first chunk, and behind the last the number of all chunks."""
        return first_chunks(_runs(self.shards, self.lengths), self.column.chunk)

    def offsets(self, shard: Shard) -> np.ndarray:
        """(len(shard) + 1,) int64: where each of the shard's rows begins in its run, in tokens, and where it ends."""
        if self.lengths is None:
            return np.arange(len(shard) + 1, dtype=np.int64) * (self.column.tokens or 1)
        return np.concatenate([[0], np.cumsum(self.lengths[shard.start : shard.stop], dtype=np.int64)])

    def starts(self) -> np.ndarray:
        """(rows,) int64: where each row begins in the whole array `(token, feature)`."""
        size = self.column.chunk_tokens
        return np.concatenate(
            [first * size + self.offsets(shard)[:-1] for first, shard in zip(self.first[:-1], self.shards, strict=True)]
        )


def plan_tokens(
    name: str,
    width: int,
    dtype: str,
    shards: Sequence[Shard],
    *,
    tokens: int | None = None,
    prefix: int = 0,
    grid: tuple[int, int] | None = None,
    lengths: np.ndarray | None = None,
    chunk: int | None = None,
) -> TokenColumn:
    """The column that keeps `tokens` a row, or `lengths` (rows,) of them; `chunk` where that is settled already."""
    runs = _runs(shards, lengths)
    if chunk is None:
        most = CHUNK_BYTES // ((tokens or 1) * width * np.dtype(dtype).itemsize)
        chunk = chunk_size(runs, min(max(most, 1), max(len(shard) for shard in shards) if tokens else most))
    return TokenColumn(
        name, width, chunk, chunk_count(runs, chunk), dtype=dtype, tokens=tokens, prefix=prefix, grid=grid
    )


def _runs(shards: Sequence[Shard], lengths: np.ndarray | None) -> list[int]:
    """What each shard puts into chunks: tokens where rows differ, else rows."""
    if lengths is None:
        return [len(shard) for shard in shards]
    return [int(lengths[shard.start : shard.stop].sum()) for shard in shards]
