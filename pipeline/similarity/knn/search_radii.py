"""Who can be among the nearest, tile by tile: a search radius for every row that shrinks as tiles pass, and what it
holds.

Let v be what was computed of a pair, with the origin, and D its distance: v <= D <= v + 2 e_i + 2 e_j. If t is a value
that the computed values of at least k columns do not pass, then k distances do not pass what `RowBounds.farthest` makes
of it, the row's radius: the distance of a true neighbour is within it, and so is v. Every column that was computed to
be within the radius is a candidate; no other can be a neighbour, whatever the rounding did. Columns that are still to
come can only shrink it.

t comes from minima: each column belongs to one of G groups, and the k-th smallest of a row's G group minima is reached
by k columns. With G = 2.5 k to 5 k about 1.1 to 1.3 k columns reach it, however many rows there are (n columns spread
over G groups leave G (1 - exp(-n / G)) of them hit). Once a row has met many columns, few of a tile are nearer: t is
then the k-th smallest key of its candidates, and no more minima are taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from threading import local

import numpy as np
import torch

from structure.pipeline.similarity.knn.products_with_error_bounds import Products
from structure.pipeline.similarity.knn.search_plan import groups_for


class SearchRadii:
    """Radii of some eligible rows, of which only the `searched` (rows,) bool have candidates.

    `rows` are a slice of positions, or positions that are counted from 0 from here on. `cut` (rows,) holds keys of the
    products' precision that no candidate reaches, its lowest for a row that wants none. Slices of rows are of
    positions.
    """

    def __init__(self, k: int, products: Products, rows: slice | np.ndarray, searched: np.ndarray) -> None:
        self.k, self.bounds, self.first = k, products.bounds[rows], rows.start if isinstance(rows, slice) else 0
        self.precision = precision = products.precision
        self.origin = products.origin
        self.groups = groups_for(k)
        self.radius = np.full(len(searched), np.inf)
        self.cut = precision.cut(self.radius)
        self.cut[~searched] = precision.none
        shape, dtype = (self.groups, len(searched)), precision.key_dtype
        self._minima = partial(torch.full, shape, precision.farthest, dtype=dtype, device=products.device)
        self._nearest: torch.Tensor | None = None

    def cut_of(self, rows: slice) -> np.ndarray:
        """`(rows,)` keys that candidates of these rows do not reach."""
        return self.cut[self._places(rows)]

    def _places(self, rows: slice) -> slice:
        return slice(rows.start - self.first, rows.stop - self.first)

    def leave(self, rows: np.ndarray) -> None:
        """Want no more of these rows, (rows,) bool."""
        self.cut[rows] = self.precision.none

    def see(self, keys: torch.Tensor, rows: slice, axis: int) -> None:
        """Take in the keys of a tile whose axis `axis` are these rows."""
        minima = _minima(keys, self.groups, 1 - axis)
        if self._nearest is None:
            self._nearest = self._minima()
        nearest = self._nearest[: minima.shape[1 - axis], self._places(rows)]
        torch.minimum(nearest, minima.T if axis == 0 else minima, out=nearest)

    def shrink(self, rows: slice) -> None:
        """Shrink the radii of some rows by what was seen."""
        if self._nearest is None:
            return
        rows = self._places(rows)
        nearest = self._nearest[:, rows]
        self._shrink(rows, (_kth if nearest.device.type == "cpu" else _kth_on_device)(nearest, self.k))

    def shrink_to(self, pairs: CandidatePairs) -> None:
        """Shrink the radii of the rows that have k candidates or more, by these."""
        rows, kth = self.precision.kth(pairs.row, pairs.key, self.k)
        self._shrink(rows, kth)

    def forget(self) -> None:
        """Give back the memory of what was seen."""
        self._nearest = None

    def _shrink(self, rows: slice | np.ndarray, kth: np.ndarray) -> None:
        reached = self.bounds.farthest(self.precision.most(kth) + self.origin, rows)
        self.radius[rows] = radius = np.minimum(self.radius[rows], reached)
        cut = self.cut[rows]
        self.cut[rows] = np.where(cut == self.precision.none, cut, self.precision.cut(radius - self.origin))


def _minima(keys: torch.Tensor, groups: int, axis: int) -> torch.Tensor:
    """Minima over `axis` of `(rows, columns)` keys, at most `groups`: column p belongs to group p mod `groups`."""
    size = keys.shape[axis]
    whole = size - size % groups
    if not whole:
        return keys
    minima = keys.narrow(axis, 0, whole).unflatten(axis, (-1, groups)).amin(axis)
    if whole < size:
        some = minima.narrow(axis, 0, size - whole)
        torch.minimum(some, keys.narrow(axis, whole, size - whole), out=some)
    return minima


@dataclass(frozen=True)
class CandidatePairs:
    """Candidates: `row` (pairs,) int16 counted within the searched rows, `column` (pairs,) int32 positions, `key`
    (pairs,) how far apart they were seen."""

    row: np.ndarray
    column: np.ndarray
    key: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, which: np.ndarray | slice) -> CandidatePairs:
        """Some of them, by places or a range."""
        return CandidatePairs(self.row[which], self.column[which], self.key[which])


_FIELDS = ("row", "column", "key")


class Harvest:
    """The candidates of the rows of some radii so far; those that the radii leave out by now are dropped when they
    become many.

    A row left with more than `few` candidates is given up: it is searched no more and is marked in `many` (rows,) bool.
    `count` candidates are held; they are gone through beyond `most`, and beyond a quarter more than was left then.
    """

    def __init__(self, radii: SearchRadii, *, few: int, most: int) -> None:
        self.radii, self.few, self.most = radii, few, most
        self.many = np.zeros(len(radii.cut), bool)
        self._parts: list[CandidatePairs] = []
        self.count, self._limit = 0, most

    def add(self, keys: torch.Tensor, rows: slice, columns: slice, axis: int) -> None:
        """The candidates of a tile for the rows along `axis`; `rows`, `columns` are its positions along both axes."""
        mine, other = (rows, columns) if axis == 0 else (columns, rows)
        cut = self.radii.cut_of(mine)
        find = _within if keys.device.type == "cpu" else _within_on_device
        *pair, key = find(keys, cut[:, None] if axis == 0 else cut)
        row, column = pair[axis], pair[1 - axis]
        row += np.int32(mine.start - self.radii.first)
        column += np.int32(other.start)
        self._parts.append(CandidatePairs(row.astype(np.int16), column, key))
        self.count += len(key)
        if self.count > self._limit:
            self.prune()

    def take(self) -> CandidatePairs:
        """The candidates, by row, which are then forgotten."""
        pairs = self.prune()
        self._parts, self.count = [], 0
        return pairs[np.sort((pairs.row.astype(np.int64) << 32) + np.arange(len(pairs))) & (2**32 - 1)]

    def prune(self) -> CandidatePairs:
        """What the radii leave of the candidates; rows are counted from the first of the radii."""
        pairs = CandidatePairs(*(np.concatenate([getattr(p, field) for p in self._parts]) for field in _FIELDS))
        self._parts = []
        self.radii.shrink_to(pairs)
        pairs = pairs[np.flatnonzero(pairs.key < self.radii.cut[pairs.row])]
        over = np.bincount(pairs.row, minlength=len(self.many)) > self.few
        if over.any():
            self.many |= over
            self.radii.leave(over)
            pairs = pairs[np.flatnonzero(~over[pairs.row])]
        self._parts, self.count = [pairs], len(pairs)
        self._limit = max(self.most, self.count * 5 // 4)
        return pairs


def _kth(nearest: torch.Tensor, k: int) -> np.ndarray:
    """`(columns,)`: the k-th smallest of each column."""
    kth: np.ndarray = np.partition(nearest.T.contiguous().numpy(), k - 1, axis=1)[:, k - 1]
    return kth


def _kth_on_device(nearest: torch.Tensor, k: int) -> np.ndarray:
    return np.asarray(torch.topk(nearest, k, dim=0, largest=False).values[-1].cpu().numpy())


Within = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Row and column int32 of the keys below the cut, and these keys."""


_held = local()
"""Of each thread: the mask of a tile, which is written again for the next."""


def _within(keys: torch.Tensor, cut: np.ndarray) -> Within:
    table = keys.numpy()
    mask = getattr(_held, "mask", None)
    if mask is None or mask.size < table.size:
        mask = _held.mask = np.empty(table.size, bool)
    is_within = mask[: table.size].reshape(table.shape)
    np.less(table, cut, out=is_within)
    flat = np.flatnonzero(is_within)
    key = table.take(flat)
    column = flat.astype(np.int32)
    row = column // np.int32(table.shape[1])
    column -= row * np.int32(table.shape[1])
    return row, column, key


def _within_on_device(keys: torch.Tensor, cut: np.ndarray) -> Within:
    """The same on an accelerator: only cuts and candidates cross from and to the host."""
    row, column = torch.nonzero(keys < torch.from_numpy(cut).to(keys.device), as_tuple=True)
    places = (side.int().cpu().numpy() for side in (row, column))
    return *places, keys[row, column].cpu().numpy()
