"""Embeddings of one layer's rows by one head, a shard at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from structure.pipeline.extraction.stored_or_extracted import FeatureSource
from structure.pipeline.metrics.matrices import Array
from structure.store import FeatureSet, Shard
from structure.store.sample_table import WITHDRAWN
from structure.store.shard_ranges import MAX_ROWS

Head = Callable[[Any], Any]
"""(rows, width) float32 features, or `Tokens` of rows -> (rows, dim) float32 embeddings, of the kind given."""

ROWS = 8192
"""Rows that are embedded at once."""
TOKEN_ROWS = 256
"""Rows whose tokens are read at once."""


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of the rows of a feature set that could be read, in order; nothing is computed before it is asked.

    `layer` is the column that `head` takes, or several joined with `+`; with `tokens` it takes that layer's tokens.
    Memory is bounded by one shard where `blocks` is used, which takes small ones together.
    """

    features: FeatureSet
    layer: str
    head: Head
    source: FeatureSource
    tokens: bool = False
    head_name: str = ""
    """With a name, which no other head has, embeddings are made once for all tasks, as far as memory allows."""

    @cached_property
    def rows(self) -> np.ndarray:
        """(n,) numbers of the rows that could be read."""
        return np.flatnonzero(self._valid)

    @cached_property
    def _valid(self) -> np.ndarray:
        return self.features.valid

    def left_out(self) -> dict[str, int]:
        """How many rows take no part: those that could not be read, and those of withdrawn samples where there are
        any."""
        withdrawn = sum(reason == WITHDRAWN for reason in self.features.skipped.values())
        unreadable = len(self.features) - len(self.rows) - withdrawn
        return {"unreadable": unreadable} | ({"withdrawn": withdrawn} if withdrawn else {})

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self) -> Iterator[Array]:
        """(rows, dim) float32 embeddings of at most `ROWS` rows, on the source's device (NumPy arrays on a CPU)."""
        shards = self.features.manifest.shards
        together = 1 if self.tokens else max(1, MAX_ROWS // len(shards[0])) if shards else 1
        for first in range(0, len(shards), together):
            yield from self._of_shards(shards[first : first + together])

    def of_shard(self, shard: Shard) -> Iterator[Array]:
        """Those of one shard."""
        return self._of_shards([shard])

    def _of_shards(self, shards: Sequence[Shard]) -> Iterator[Array]:
        if not self.head_name:
            return self._made(shards)
        span = shards[0].start, shards[-1].stop
        key = (self.head_name, self.features.key, self.features.fingerprint, self.layer, *span)
        made = self.source.recent.once(key, lambda: list(self._made(shards)), size=_bytes)
        return iter(made)

    def _made(self, shards: Sequence[Shard]) -> Iterator[Array]:
        if self.tokens:
            for shard in shards:
                yield from self._token_blocks(shard)
            return
        parts = [self.source.values(self.features, self.layer, shard) for shard in shards]
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        kept = self._valid[shards[0].start : shards[-1].stop]
        chosen = values if kept.all() else values[kept]
        for start in range(0, len(chosen), ROWS):
            some = chosen[start : start + ROWS]
            on_cpu = self.source.device == "cpu"
            yield self.head(
                some.astype(np.float32) if on_cpu else torch.from_numpy(some).to(self.source.device).float()
            )

    def _token_blocks(self, shard: Shard) -> Iterator[Array]:
        """The same from tokens, some rows of a shard at a time; a row that could not be read has no token."""
        for start in range(shard.start, shard.stop, TOKEN_ROWS):
            stop = min(start + TOKEN_ROWS, shard.stop)
            kept = self._valid[start:stop]
            if kept.any():
                read = self.features.tokens(self.layer, start, stop)
                offsets = np.concatenate([read.offsets[:-1][kept], read.offsets[-1:]])
                yield self.head(replace(read, offsets=offsets))

    def whole(self) -> Array:
        """(n, dim) float32, all at once."""
        parts = list(self.blocks())
        return torch.cat(parts) if isinstance(parts[0], torch.Tensor) else np.concatenate(parts)


def _bytes(parts: list[Array]) -> int:
    return sum(part.nbytes for part in parts)
