"""The order of shuffled reading: blocks of rows in a drawn order, and the rows of a window of blocks in a drawn order.

Plain arithmetic over row counts; no file is touched. The order is a function of the seed, the epoch and the blocks
alone: neither how the rows are read nor by how many threads moves a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np


@dataclass(frozen=True)
class Window:
    """Blocks that are in memory together, and `order`, a permutation of their rows taken block after block."""

    blocks: tuple[int, ...]
    order: np.ndarray


@dataclass(frozen=True)
class ShufflePlan:
    """`edges`: where blocks of rows begin, ascending from 0, and the number of rows behind the last. `weights`: bytes
    of each block; blocks are taken into a window as long as they have not more than `pool` bytes together (a larger
    block has a window of its own)."""

    edges: tuple[int, ...]
    weights: tuple[int, ...]
    pool: int

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in pairwise(self.edges))
        if len(self.edges) != len(self.weights) + 1 or self.edges[0] != 0 or not rising or self.pool < 1:
            raise ValueError(f"{len(self.edges)} edges, {len(self.weights)} weights, a pool of {self.pool}")

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.edges[-1]

    def windows(self, seed: int, epoch: int) -> Iterator[Window]:
        """Every row once: the windows of one epoch in their order."""
        draws = np.random.default_rng([seed, epoch])
        filled: list[int] = []
        for block in draws.permutation(len(self.weights)).tolist():
            if filled and sum(self.weights[b] for b in filled) + self.weights[block] > self.pool:
                yield self._window(filled, draws)
                filled = []
            filled.append(block)
        if filled:
            yield self._window(filled, draws)

    def rows_of(self, window: Window) -> np.ndarray:
        """(rows of the window,) int64: its rows in the order in which they are given out."""
        parts = [np.arange(self.edges[block], self.edges[block + 1]) for block in window.blocks]
        return np.asarray(np.concatenate(parts)[window.order], dtype=np.int64)

    def order(self, seed: int, epoch: int, *, batch: int = 1) -> np.ndarray:
        """(rows,) int64: all rows in the order of one epoch, for batches of `batch` rows. What a batch has of one
        window ascends: memory is read faster in order, and a batch is the same set of rows."""
        return self.order_of(list(self.windows(seed, epoch)), batch=batch)

    def order_of(self, windows: Sequence[Window], *, batch: int) -> np.ndarray:
        """`order` of an epoch with these windows."""
        order = np.concatenate([self.rows_of(window) for window in windows])
        for low, high in pairwise(sorted({*range(0, self.rows, batch), *begins_of(windows), self.rows})):
            order[low:high].sort()
        return order

    def _window(self, blocks: list[int], draws: np.random.Generator) -> Window:
        count = sum(self.edges[block + 1] - self.edges[block] for block in blocks)
        return Window(tuple(blocks), draws.permutation(count))


def begins_of(windows: Sequence[Window]) -> list[int]:
    """Where in the epoch's order the rows of each window begin."""
    return list(accumulate((len(window.order) for window in windows[:-1]), initial=0))


def block_edges(rows: np.ndarray, size: int) -> tuple[int, ...]:
    """Where blocks begin in `rows` (n,), the ascending row numbers of a feature set: one block for every `size` rows
    of the set that hold any of them, so that reading a block reads whole chunks."""
    new = np.flatnonzero(np.diff(rows // size)) + 1
    return (0, *new.tolist(), len(rows))
