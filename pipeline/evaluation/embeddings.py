"""Embeddings of one layer's rows by one head, a shard at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from structure.pipeline.features.cached import FeatureSource
from structure.store import FeatureSet

Head = Callable[[np.ndarray], np.ndarray]
"""(rows, width) float32 features -> (rows, dim) float32 embeddings."""


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of the rows of a feature set that could be read, in order; nothing is computed before it is asked.

    `layer` is the column that `head` takes. Memory is bounded by one shard where `blocks` is used.
    """

    features: FeatureSet
    layer: str
    head: Head
    source: FeatureSource

    @cached_property
    def rows(self) -> np.ndarray:
        """(n,) numbers of the rows that could be read."""
        return np.flatnonzero(self.features.valid)

    @property
    def unreadable(self) -> int:
        """How many rows could not be read and are left out."""
        return len(self.features) - len(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self) -> Iterator[np.ndarray]:
        """(n, dim) float32 embeddings, shard by shard; a shard without a readable row gives none."""
        valid = self.features.valid
        for shard, values in self.source.blocks(self.features, self.layer):
            kept = valid[shard.start : shard.stop]
            if kept.any():
                yield self.head(values[kept].astype(np.float32))

    def whole(self) -> np.ndarray:
        """(n, dim) float32, all at once."""
        return np.concatenate(list(self.blocks()))
