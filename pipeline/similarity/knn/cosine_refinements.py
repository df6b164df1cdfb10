"""Cosines of chosen pairs, more precisely than a tile of products: the refinements that `refine_order.rank` takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from structure.pipeline.similarity.knn import extended_precision as exact
from structure.pipeline.similarity.knn.refine_order import dots, run_starts
from structure.pipeline.similarity.knn.unit_rows import Block, UnitRows

_STRETCH = 128
_CHUNK = 6144
"""Columns whose rows are multiplied at once: a stretch of them stays in a core's cache."""

_DOUBLES = 2048
"""The same in float64, where whole rows are multiplied."""


@dataclass(frozen=True)
class PairCosines:
    """Pairs (index into `part`, position among the eligible rows), by index; `part` (n,) positions within `block`.

    Every method gives `(pairs,)` float64 and the bounds of their errors, alike within a row.
    """

    rows: UnitRows
    block: Block
    part: np.ndarray
    device: torch.device

    def single(self, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From float32 products.

        Sums of `_STRETCH` products are taken in float32 and added in float64, so the error of c_i . c_j is at most
        (`_STRETCH` + 6) 2^-24 r_i r_j: rounded operands, products and sums, in any order.
        """
        value, radius = np.empty(len(row)), np.empty(len(row))
        lefts = [left.to(self.device) for left in _stretches(self.block.centred, self.part)]
        for chunk in self._chunks(row, column, _CHUNK):
            other, j = chunk.block, chunk.column
            total = self.block.tilt[self.part[chunk.row]] + other.tilt[chunk.used][j] + other.shift
            for left, right in zip(lefts, _stretches(other.centred, chunk.used), strict=True):
                total += dots(left, right.to(self.device), chunk.row, j)
            value[chunk.pairs] = total
            radius[chunk.pairs] = other.radius[chunk.used][j]
        size = self.block.radius[self.part[row]] * most_of_row(row, radius)
        return value, 1.01 * (_STRETCH + 6) * 2.0**-24 * size + 1e-12

    def double(self, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """In float64, with the bound of its rounding: products, sum, both norms and their inverses."""
        value = np.empty(len(row))
        first = run_starts(row)
        mine, i = row[first], np.repeat(np.arange(len(first)), np.diff(first, append=len(row)))
        left = torch.from_numpy(self.rows.values(self.block.start + self.part[mine])).double()
        for chunk in self._chunks(i, column, _DOUBLES):
            right = torch.from_numpy(self.rows.values(chunk.block.start + chunk.used)).double()
            inverse = self.block.inverse[self.part[mine[chunk.row]]] * chunk.block.inverse[chunk.used][chunk.column]
            value[chunk.pairs] = dots(left, right, chunk.row, chunk.column) * inverse
        return value, np.full(len(row), (2 * self.rows.width + 64) * 2.0**-53)

    def exact(self, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rounded to the grid on which equal means equal; no error."""
        value = np.empty(len(row))
        step = max(1, (1 << 21) // self.rows.width)
        for chunk in self._chunks(row, column, _CHUNK):
            theirs = self.rows.values(chunk.block.start + chunk.used)
            for a in range(0, len(chunk.pairs), step):
                some = slice(a, a + step)
                mine, i = np.unique(self.part[chunk.row[some]], return_inverse=True)
                left = self.rows.values(self.block.start + mine)[i]
                value[chunk.pairs[some]] = exact.cosines(left, theirs[chunk.column[some]])
        return value, np.zeros(len(row))

    def _chunks(self, row: np.ndarray, column: np.ndarray, size: int) -> Iterator[_Chunk]:
        """The pairs by the columns that they need, at most `size` at a time, of one block."""
        cuts = sorted({*self.rows.edges, *range(0, self.rows.edges[-1], size)})
        if len(cuts) == 2:
            parts = [np.arange(len(row))]
        else:
            which = np.searchsorted(cuts, column, side="right") - 1
            order = np.sort((which << 32) + np.arange(len(row))) & (2**32 - 1)
            parts = np.split(order, np.cumsum(np.bincount(which, minlength=len(cuts) - 1))[:-1])
        for (start, stop), pairs in zip(pairwise(cuts), parts, strict=True):
            if len(pairs):
                block = self.rows.block_at(start)
                yield _Chunk.of(block, slice(start - block.start, stop - block.start), pairs, row, column)


@dataclass(frozen=True)
class _Chunk:
    """Some of the pairs: `pairs` says which, `row` (pairs,) as theirs, ascending; `column` (pairs,) into `used`.

    `used` (n,) ascending are the rows of the block that their columns name, and others between, where most are named.
    """

    block: Block
    pairs: np.ndarray
    row: np.ndarray
    column: np.ndarray
    used: np.ndarray

    @classmethod
    def of(cls, block: Block, rows: slice, pairs: np.ndarray, row: np.ndarray, column: np.ndarray) -> _Chunk:
        """The pairs `pairs` of all, whose columns lie within `rows` of the block."""
        j = column[pairs].astype(np.int64) - (block.start + rows.start)
        is_used = np.zeros(rows.stop - rows.start, bool)
        is_used[j] = True
        used = np.flatnonzero(is_used)
        if 2 * len(used) < len(is_used):
            j = (np.cumsum(is_used) - 1)[j]
        else:
            used = np.arange(len(is_used))
        return cls(block, pairs, row[pairs], j, used + rows.start)


def _stretches(values: torch.Tensor, rows: np.ndarray) -> Iterator[torch.Tensor]:
    """Columns of some rows, ascending, `_STRETCH` at a time, each copied together; rows are picked out once."""
    is_run = int(rows[-1]) - int(rows[0]) == len(rows) - 1
    picked = values[int(rows[0]) : int(rows[-1]) + 1] if is_run else values[torch.from_numpy(rows)]
    for start in range(0, values.shape[1], _STRETCH):
        yield picked[:, start : start + _STRETCH].contiguous()


def most_of_row(row: np.ndarray, value: np.ndarray) -> np.ndarray:
    """`(pairs,)`: the largest value of the pairs of each pair's row; `row` ascending."""
    first = run_starts(row)
    return np.repeat(np.maximum.reduceat(value, first), np.diff(first, append=len(row))) if len(row) else value
