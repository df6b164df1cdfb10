"""The nearest rows of every row of a layer, exactly, without a rows x rows array.

What exact means: neighbours are ordered by the cosine of the stored values, as a real number rounded to a multiple of
2**-50 (`exact.GRID_BITS`), descending; equal cosines by index, ascending. The definition names no machine, so the
table does not depend on tile size, memory budget, thread count, processor or accelerator. It is reached in steps that
each prove what they leave out: low-precision products with an error bound (`candidates`), then just the pairs whose
order is still open (`order`, `exact`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from structure.pipeline.similarity import exact, order
from structure.pipeline.similarity.candidates import Search, TooManyCandidates, has_bfloat16_units, ordered
from structure.pipeline.similarity.rows import Block, Rows, RowSource, shape_of
from structure.store.errors import StructureError

MEMORY = 1 << 30
"""Default budget in bytes for one layer's search."""

_PANEL = 8192


@dataclass(frozen=True)
class Neighbours:
    """The `k` nearest rows of each row of one layer: `table` (rows, k) int32, nearest first, never the row itself.

    `constant` says that all rows of the layer are equal in direction to the first: its table holds indices, not
    information.
    """

    table: np.ndarray
    constant: bool = False

    def __post_init__(self) -> None:
        if self.table.ndim != 2 or self.table.dtype != np.int32:
            raise TypeError(f"a neighbour table is (rows, k) int32, not {self.table.shape} {self.table.dtype}")

    @property
    def rows(self) -> int:
        return len(self.table)

    @property
    def k(self) -> int:
        return int(self.table.shape[1])


def neighbours(
    x: RowSource, *, k: int, memory: int = MEMORY, device: str | torch.device | None = None, name: str = "x"
) -> np.ndarray:
    """`(rows, k)` int32: for each row of `x` (rows, width) the k rows of largest cosine, itself excluded, nearest
    first.

    `x` is a NumPy array, a tensor on any device, or anything with `.shape` whose slices give arrays (zarr, dask,
    h5py, a store's layer): it is read in blocks when it does not fit `memory` bytes. Order and ties as this module's
    docstring says; a zero row has cosine 0 with every row. `device` "cuda:0" computes the products there (default:
    where a tensor lies, else the processor). `name` is used in messages. Raises StructureError for fewer than k + 1
    rows, or a NaN or infinity.
    """
    return search(x, k=k, memory=memory, device=device, name=name).table


def search(
    x: RowSource, *, k: int, memory: int = MEMORY, device: str | torch.device | None = None, name: str = "x"
) -> Neighbours:
    """As `neighbours`, and whether the layer is constant."""
    return joined([search_part(x, k=k, memory=memory, device=device, name=name)], k=k)


@dataclass(frozen=True)
class Part:
    """The search for the rows `[start, start + n)` of a layer, to be joined with the others.

    `lists` (n, k + 1) int32: the nearest of each row that is the first of its kind, itself included; `leader` (n,): the
    first row with the same values; `is_zero` (n,) bool: rows that point nowhere.
    """

    start: int
    lists: np.ndarray
    leader: np.ndarray
    is_zero: np.ndarray
    constant: bool


def search_part(
    x: RowSource,
    *,
    k: int,
    start: int = 0,
    stop: int | None = None,
    memory: int = MEMORY,
    device: str | torch.device | None = None,
    name: str = "x",
) -> Part:
    """The search for the rows `[start, stop)` among all rows: one task of many, wherever it runs."""
    count, _ = shape_of(x, name)
    if k < 1:
        raise StructureError(f"k is {k}: a row needs at least one neighbour. Pass --k rice, or a number of 1 or more.")
    if count < k + 1:
        raise StructureError(
            f"Layer {name} has {count} rows; {k} neighbours of each need at least {k + 1}, because a row is not "
            f"its own neighbour. Pass --k {max(count - 1, 1)} or less, --k rice, or extract more rows."
        )
    where = (
        torch.device(device) if device is not None else x.device if isinstance(x, torch.Tensor) else torch.device("cpu")
    )
    rows = Rows(x, k=k, memory=memory, name=name)
    span = slice(start, count if stop is None else min(stop, count))
    lists = _lists(rows, k + 1, where, memory, span)
    return Part(start, lists, rows.leader[span], rows.norms[span] == 0, rows.is_constant())


def joined(parts: Sequence[Part], *, k: int) -> Neighbours:
    """The table of a layer from parts that cover its rows, in order."""
    lists, leader, is_zero = (
        np.concatenate([getattr(part, field) for part in parts]) for field in ("lists", "leader", "is_zero")
    )
    own = lists[leader]  # copies take the list of the first of their kind
    own[is_zero] = np.arange(k + 1)  # cosine 0 with every row: the lowest indices
    keep = own != np.arange(len(own))[:, None]
    keep[keep.all(axis=1), k] = False  # itself left out, or the last entry where it is not in the list
    return Neighbours(own[keep].reshape(len(own), k), constant=parts[0].constant)


def _lists(rows: Rows, k: int, device: torch.device, memory: int, span: slice) -> np.ndarray:
    """`(rows of the span, k)` int32: the k nearest of each non-zero row that is the first of its kind, itself included;
    others are 0."""
    lists = np.zeros((span.stop - span.start, k), np.int32)
    leads = (rows.leader[rows.kept] == rows.kept) & (rows.norms[rows.kept] > 0)
    leads &= (rows.kept >= span.start) & (rows.kept < span.stop)
    finder = Search(
        k,
        device=device,
        narrow=worth_narrowing(rows, k),
        most=max(memory // 128, len(rows.kept)),
    )
    for start, stop in zip(rows.edges[:-1], rows.edges[1:], strict=True):
        queries = np.flatnonzero(leads[start:stop])
        if not len(queries):
            continue
        panel = rows.block(start, stop)
        waiting = [queries[first : first + _PANEL] for first in range(0, len(queries), _PANEL)]
        while waiting:
            part = waiting.pop()
            try:
                found = _nearest(rows, finder, panel, part, k)
            except TooManyCandidates:
                waiting += [part[: len(part) // 2], part[len(part) // 2 :]]
                continue
            lists[rows.kept[panel.start + part] - span.start] = rows.kept[found]
    return lists


def worth_narrowing(rows: Rows, k: int) -> bool:
    """Whether bfloat16 products pay: the processor has units for them, and candidates are few beside the columns."""
    return has_bfloat16_units() and rows.width >= 32 and len(rows.kept) >= 32 * k


def _nearest(rows: Rows, finder: Search, panel: Block, part: np.ndarray, k: int) -> np.ndarray:
    """`(len(part), k)` positions among the kept rows, for the rows `part` of a panel."""
    floor = np.full(len(part), -np.inf)
    pieces = []
    for block in rows.blocks():
        here = finder.among(panel, part, block, floor)
        pieces.append(replace(here, column=here.column + block.start))
    all_ = ordered(pieces)
    row, column, value, error = all_.row, all_.column, all_.value, all_.error
    edges = np.searchsorted(row, np.arange(len(part) + 1))
    found = np.empty((len(part), k), np.int64)
    for a, b in _even(np.diff(edges), finder.most):
        cut = slice(edges[a], edges[b])
        table = order.Table.padded(b - a, row[cut] - a, column[cut], value[cut], error[cut])
        pairs = _Pairs(rows, panel, part[a:b])
        found[a:b] = order.rank(table, k, (pairs.double, pairs.exact))
    return found


def _even(counts: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Cut rows into runs whose padded table has at most `most` entries (at least one row each)."""
    if counts.max(initial=0) * len(counts) <= most:
        return [(0, len(counts))]
    runs, start, widest = [], 0, 0
    for row, count in enumerate(counts.tolist()):
        widest = max(widest, count)
        if row > start and widest * (row + 1 - start) > most:
            runs.append((start, row))
            start, widest = row, count
    runs.append((start, len(counts)))
    return runs


@dataclass(frozen=True)
class _Pairs:
    """Cosines of pairs (row of `part`, position among the kept rows), more precisely than float32."""

    rows: Rows
    panel: Block
    part: np.ndarray

    def double(self, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, float]:
        """In float64, with the bound of its rounding: products, sum, both norms and their inverses."""
        value = np.empty(len(row))
        width = self.rows.width
        for block in self.rows.blocks():
            here = (column >= block.start) & (column < block.stop)
            if not here.any():
                continue
            i, j = row[here], column[here] - block.start
            x, y = self.panel.values, block.values
            if len(self.part) < len(x):
                x = x[self.part]
            columns, named = np.unique(j, return_inverse=True)
            if 2 * len(columns) < len(y):
                y, j = y[columns], named
            inverse = self.panel.inverse[self.part[i]] * block.inverse[column[here] - block.start]
            step = max(16, (32 << 20) // (8 * len(y)))
            total = np.zeros(len(i))
            for a in range(0, width, step):
                right = torch.from_numpy(y[:, a : a + step].astype(np.float64))
                left = right if x is y else torch.from_numpy(x[:, a : a + step].astype(np.float64))
                total += order.dots(left, right, i, j)
            value[here] = total * inverse
        return value, (2 * width + 64) * 2.0**-53

    def exact(self, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, float]:
        """Rounded to the grid on which equal means equal; no error."""
        value = np.empty(len(row))
        step = max(1, (1 << 21) // self.rows.width)
        for block in self.rows.blocks():
            here = np.flatnonzero((column >= block.start) & (column < block.stop))
            for a in range(0, len(here), step):
                pairs = here[a : a + step]
                x = self.panel.values[self.part[row[pairs]]]
                value[pairs] = exact.cosines(x, block.values[column[pairs] - block.start])
        return value, 0.0
