"""Who can be among the nearest, tile by tile: a floor for every row that rises as tiles pass, and what reaches it.

Let s be the computed and s* the true value of a pair, and |s - s*| <= e_i for every column j. If t is a value that the
computed values of at least k columns reach, then k true values reach t - e_i, the row's floor: a true neighbour has s*
of at least that, and a computed value of at least t - 2 e_i, the row's cut. Every column that reaches the cut is a
candidate; no other can be a neighbour, whatever the rounding did. Columns that are still to come can only raise it.

t comes from maxima: each column belongs to one of G groups, and the k-th largest of a row's G group maxima is reached
by k columns. With G = 2.5 k to 5 k about 1.1 to 1.3 k columns reach it, however many rows there are (n columns spread
over G groups leave G (1 - exp(-n / G)) of them hit).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from structure.pipeline.similarity.knn.products_with_error_bounds import Precision


class Floors:
    """Floors of the rows from position `first` on, of which only the `searched` (rows,) bool have candidates.

    `error` (rows,) float64 is e; `cut` (rows,) holds keys of `precision`, its highest for a row that wants none. Slices
    of rows are of positions.
    """

    def __init__(
        self,
        k: int,
        precision: Precision,
        error: np.ndarray,
        searched: np.ndarray,
        device: torch.device,
        first: int = 0,
    ) -> None:
        self.k, self.precision, self.error, self.first = k, precision, error, first
        self.groups = groups_for(k)
        self.floor = np.full(len(error), -np.inf)
        self.cut = precision.cut(self.floor)
        self.cut[~searched] = precision.highest
        self._best = torch.full((self.groups, len(error)), precision.lowest, dtype=precision.key_dtype, device=device)

    def cut_of(self, rows: slice) -> np.ndarray:
        """`(rows,)` keys that candidates of these rows reach."""
        return self.cut[self._places(rows)]

    def _places(self, rows: slice) -> slice:
        return slice(rows.start - self.first, rows.stop - self.first)

    def leave(self, rows: np.ndarray) -> None:
        """Want no more of these rows, (rows,) bool."""
        self.cut[rows] = self.precision.highest

    def see(self, keys: torch.Tensor, rows: slice, axis: int) -> None:
        """Take in the keys of a tile whose axis `axis` are these rows."""
        maxima = _maxima(keys, self.groups, 1 - axis)
        best = self._best[: maxima.shape[1 - axis], self._places(rows)]
        torch.maximum(best, maxima.T if axis == 0 else maxima, out=best)

    def raise_(self, rows: slice) -> None:
        """Raise the floors and cuts of some rows by what was seen."""
        rows = self._places(rows)
        best = self._best[:, rows]
        kth = (_kth if best.device.type == "cpu" else _kth_on_device)(best, self.k)
        floor, error = self.floor[rows], self.error[rows]
        np.maximum(floor, self.precision.reached(kth) - error, out=floor)
        cut = self.cut[rows]
        cut[:] = np.where(cut == self.precision.highest, cut, self.precision.cut(floor - error))


def groups_for(k: int) -> int:
    """A power of two from 2.5 k on."""
    return 1 << int(np.ceil(np.log2(2.5 * k)))


def _maxima(keys: torch.Tensor, groups: int, axis: int) -> torch.Tensor:
    """Maxima over `axis` of `(rows, columns)` keys, at most `groups`: column p belongs to group p mod `groups`."""
    size = keys.shape[axis]
    whole = size - size % groups
    if not whole:
        return keys
    maxima = keys.narrow(axis, 0, whole).unflatten(axis, (-1, groups)).amax(axis)
    if whole < size:
        some = maxima.narrow(axis, 0, size - whole)
        torch.maximum(some, keys.narrow(axis, whole, size - whole), out=some)
    return maxima


@dataclass(frozen=True)
class CandidatePairs:
    """Candidates: `row` and `column` (pairs,) int32 positions, `key` (pairs,) how large their product was seen."""

    row: np.ndarray
    column: np.ndarray
    key: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, which: np.ndarray) -> CandidatePairs:
        return CandidatePairs(self.row[which], self.column[which], self.key[which])


class Harvest:
    """The candidates so far; those that the floors have overtaken are dropped when they become many.

    A row left with more than `few` candidates is given up: it leaves the floors and is marked in `many` (rows,) bool.
    `count` candidates are held; they are gone through beyond twice `most`, and beyond twice what was left then.
    """

    def __init__(self, floors: Floors, *, few: int, most: int) -> None:
        self.floors, self.few, self.most = floors, few, most
        self.many = np.zeros(len(floors.cut), bool)
        self._parts: list[CandidatePairs] = []
        self.count, self._limit = 0, 2 * most

    def add(self, keys: torch.Tensor, rows: slice, columns: slice, axis: int) -> None:
        """The candidates of a tile for the rows along `axis`; `rows`, `columns` are its positions along both axes."""
        cut = self.floors.cut_of(rows if axis == 0 else columns)
        find = _reached if keys.device.type == "cpu" else _reached_on_device
        row, column, key = find(keys, cut[:, None] if axis == 0 else cut)
        row, column = row + rows.start, column + columns.start
        pair = (row, column) if axis == 0 else (column, row)
        self._parts.append(CandidatePairs(pair[0].astype(np.int32), pair[1].astype(np.int32), key))
        self.count += len(key)
        if self.count > self._limit:
            self.prune()

    def take(self, start: int, stop: int) -> CandidatePairs:
        """The candidates of the rows before `stop`, which are then forgotten; rows are counted from `start`."""
        pairs = self.prune()
        mine = pairs.row < stop
        rest = pairs[~mine]
        self._parts, self.count = [rest], len(rest)
        pairs = pairs[mine]
        return CandidatePairs(pairs.row - start, pairs.column, pairs.key)

    def prune(self) -> CandidatePairs:
        """What the floors leave of the candidates."""
        pairs = CandidatePairs(
            *(np.concatenate([getattr(p, field) for p in self._parts]) for field in ("row", "column", "key"))
        )
        line = pairs.row - np.int32(self.floors.first)
        is_high = pairs.key >= self.floors.cut[line]
        pairs, line = pairs[is_high], line[is_high]
        over = np.bincount(line, minlength=len(self.many)) > self.few
        if over.any():
            self.many |= over
            self.floors.leave(over)
            pairs = pairs[~over[line]]
        self._parts, self.count = [pairs], len(pairs)
        self._limit = 2 * max(self.most, self.count)
        return pairs


def _kth(best: torch.Tensor, k: int) -> np.ndarray:
    """`(columns,)`: the k-th largest of each column."""
    last = len(best) - k
    kth: np.ndarray = np.partition(best.T.contiguous().numpy(), last, axis=1)[:, last]
    return kth


def _kth_on_device(best: torch.Tensor, k: int) -> np.ndarray:
    return np.asarray(torch.topk(best, k, dim=0).values[-1].cpu().numpy())


Reached = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Row and column int64 of the keys that reach the cut, and these keys."""


def _reached(keys: torch.Tensor, cut: np.ndarray) -> Reached:
    table = keys.numpy()
    flat = np.flatnonzero(table >= cut)
    row = flat // table.shape[1]
    column = flat - row * table.shape[1]
    return row, column, table[row, column]


def _reached_on_device(keys: torch.Tensor, cut: np.ndarray) -> Reached:
    """The same on an accelerator: only cuts and candidates cross from and to the host."""
    row, column = torch.nonzero(keys >= torch.from_numpy(cut).to(keys.device), as_tuple=True)
    return row.cpu().numpy(), column.cpu().numpy(), keys[row, column].cpu().numpy()
