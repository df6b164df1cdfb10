"""One layer of a feature set as a lazily read array: what computing takes instead of a NumPy array."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from structure.store.shard import Shard


@dataclass(frozen=True, eq=False)
class LayerRows:
    """`rows[start:stop]` reads these rows, by `read(start, stop)`; `shape` is (rows, width)."""

    name: str
    shape: tuple[int, int]
    dtype: np.dtype
    shards: Sequence[Shard]
    read: Callable[[int, int], np.ndarray]
    ndim: int = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, step = rows.indices(self.shape[0])
        if step != 1:
            raise IndexError(f"layer {self.name}: rows are read in steps of 1, not {step}")
        return self.read(start, max(start, stop))

    def blocks(self) -> Iterator[tuple[Shard, np.ndarray]]:
        """Shard by shard, in order."""
        for shard in self.shards:
            yield shard, self[shard.start : shard.stop]
