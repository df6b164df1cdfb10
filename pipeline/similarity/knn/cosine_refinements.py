"""Cosines of chosen pairs, more precisely than a tile of products: the refinements that `refine_order.rank` takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from structure.pipeline.similarity.knn import extended_precision as exact
from structure.pipeline.similarity.knn.refine_order import dots, run_starts
from structure.pipeline.similarity.knn.unit_rows import Block, UnitRows

_STRETCH = 128
_DOUBLES = 32 << 20  # bytes of float64 columns at once


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
        for other, here in self._by_block(column):
            i, j = row[here], column[here] - other.start
            total = self.block.tilt[self.part[i]] + other.tilt[j] + other.shift
            sides = self.block.centred, other.centred
            for left, right, place in self._stretches(*sides, j, lambda _: _STRETCH, torch.float32):
                total += dots(left.to(self.device), right.to(self.device), i, place)
            value[here] = total
            radius[here] = other.radius[column[here] - other.start]
        size = self.block.radius[self.part[row]] * most_of_row(row, radius)
        return value, 1.01 * (_STRETCH + 6) * 2.0**-24 * size + 1e-12

    def double(self, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """In float64, with the bound of its rounding: products, sum, both norms and their inverses."""
        value = np.empty(len(row))
        for other, here in self._by_block(column):
            i, j = row[here], column[here] - other.start
            inverse = self.block.inverse[self.part[i]] * other.inverse[j]
            total = np.zeros(len(i))
            sides = torch.from_numpy(self.block.values), torch.from_numpy(other.values)
            for left, right, place in self._stretches(*sides, j, lambda n: max(16, _DOUBLES // (8 * n)), torch.float64):
                total += dots(left, right, i, place)
            value[here] = total * inverse
        return value, np.full(len(row), (2 * self.rows.width + 64) * 2.0**-53)

    def exact(self, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rounded to the grid on which equal means equal; no error."""
        value = np.empty(len(row))
        step = max(1, (1 << 21) // self.rows.width)
        for other, here in self._by_block(column):
            for a in range(0, len(here), step):
                pairs = here[a : a + step]
                mine = self.block.values[self.part[row[pairs]]]
                value[pairs] = exact.cosines(mine, other.values[column[pairs] - other.start])
        return value, np.zeros(len(row))

    def _by_block(self, column: np.ndarray) -> Iterator[tuple[Block, np.ndarray]]:
        """Each block with the pairs whose columns lie in it."""
        for other in self.rows.blocks():
            here = np.flatnonzero((column >= other.start) & (column < other.stop))
            if len(here):
                yield other, here

    def _stretches(
        self, mine: torch.Tensor, theirs: torch.Tensor, j: np.ndarray, step: Callable[[int], int], dtype: torch.dtype
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, np.ndarray]]:
        """Some columns at a time of the rows of the part, of those that `j` names, and `j` among these; `step` says how
        many, for so many rows. Nothing is picked out where most rows are used, and nothing is copied twice."""
        is_whole = len(self.part) == len(mine) and mine.data_ptr() == theirs.data_ptr()
        is_used = np.zeros(len(theirs), bool)
        is_used[j] = True
        used = None
        if 2 * np.count_nonzero(is_used) < len(theirs):
            used, j, is_whole = np.flatnonzero(is_used), np.cumsum(is_used)[j] - 1, False
        own = self.part if len(self.part) < len(mine) else None
        columns = step(len(theirs) if used is None else len(used))
        for a in range(0, self.rows.width, columns):
            right = _picked(theirs[:, a : a + columns], used, dtype)
            yield (right if is_whole else _picked(mine[:, a : a + columns], own, dtype)), right, j


def _picked(values: torch.Tensor, rows: np.ndarray | None, dtype: torch.dtype) -> torch.Tensor:
    return (values if rows is None else values[torch.from_numpy(rows)]).to(dtype).contiguous()


def most_of_row(row: np.ndarray, value: np.ndarray) -> np.ndarray:
    """`(pairs,)`: the largest value of the pairs of each pair's row; `row` ascending."""
    first = run_starts(row)
    return np.repeat(np.maximum.reduceat(value, first), np.diff(first, append=len(row))) if len(row) else value
