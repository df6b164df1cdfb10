"""The k rows of a gallery with the largest inner products with each query, exactly, a tile of products at a time.

Exact means: scores are the inner products of the stored values, as real numbers rounded to a multiple of 2**-50;
the largest come first, equal ones in the order of their rows. Tiles of float32 products, each with the bound of its
error, leave out what cannot be among the first k; only what is still open is computed again, in float64 and at last
in twice its precision (`refine_order`, `extended_precision`). Tile size, memory, threads and device change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from structure.pipeline.similarity.knn import extended_precision as exact
from structure.pipeline.similarity.knn import refine_order as order
from structure.pipeline.similarity.knn.products_with_error_bounds import TOO_COARSE
from structure.store.errors import StructureError
from structure.store.without_warnings import without_warnings

MEMORY = 1 << 30
"""Default budget in bytes of a search."""

TILE_ROWS = 16384
"""Gallery rows of a tile, at most: with 200 queries the products of a tile stay in a shared cache."""
QUERIES = 256
"""Queries that are searched in one pass over the gallery, at most."""
LEAST_ROWS = 64
LEAST_CANDIDATES = 1 << 16
"""Pairs that may be held before those below the cuts are let go, at least."""

with without_warnings():  # torch says once a process that it maps read-only arrays, which nobody writes to here
    torch.from_numpy(np.frombuffer(b"\0\0\0\0", dtype=np.float32))


class Gallery(Protocol):
    """Rows to search among. `shape` is (rows, width); `largest` bounds the length of every row from above."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def largest(self) -> float: ...

    def pieces(self, start: int, stop: int) -> Sequence[np.ndarray]:
        """Rows `[start, stop)` as float16 or float32 arrays (n, width), one after another."""
        ...


class GalleryArray:
    """A gallery in memory: `values` (rows, width) of any float dtype. Raises StructureError where one is not finite."""

    def __init__(self, values: Any) -> None:
        array = np.asarray(values)
        self.values = array if array.dtype in (np.float16, np.float32) else array.astype(np.float32)
        self.shape: tuple[int, int] = self.values.shape
        if not np.isfinite(self.values).all():
            raise StructureError("A row to search among is not finite: it has no order.")
        squares = np.einsum("ij,ij->i", self.values, self.values, dtype=np.float64)
        self.largest = float(np.sqrt(squares.max(initial=0.0))) * (1 + 1e-12)

    def pieces(self, start: int, stop: int) -> Sequence[np.ndarray]:
        return [self.values[start:stop]]


@dataclass(frozen=True)
class TopK:
    """`rows` (queries, k) int64, best first, and their `scores` (queries, k) float64."""

    scores: np.ndarray
    rows: np.ndarray


def top_k(
    queries: np.ndarray,
    gallery: Gallery,
    *,
    k: int,
    usable: np.ndarray | None = None,
    memory: int = MEMORY,
    device: str | torch.device = "cpu",
) -> TopK:
    """The `k` best rows of the gallery for each of `queries` (n, width) float32, as this module's docstring says.

    Rows that are not `usable` (rows,) bool are left out, whatever they hold; with fewer than `k` others all are given.
    The search holds at most about `memory` bytes besides the gallery. Raises StructureError for queries of another
    width or with a NaN, and where this machine multiplies float32 more coarsely than float32.
    """
    rows, width = gallery.shape
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != width:
        raise StructureError(f"Queries of shape {queries.shape} cannot be compared with rows of width {width}.")
    if not np.isfinite(queries).all():
        raise StructureError("A query holds a NaN or an infinity: it has no order. Look at how it was encoded.")
    count = rows if usable is None else int(np.count_nonzero(usable))
    k = min(k, count)
    at_once = min(QUERIES, max(len(queries), 1))
    # A tile holds its rows as float32, their products and what is compared of them.
    step = min(TILE_ROWS, max(LEAST_ROWS, memory // (4 * (width + 3 * at_once))))
    parts = [
        _Search(queries[first : first + at_once], gallery, k, usable, step, torch.device(device)).run()
        for first in range(0, len(queries), at_once)
        if k
    ]
    if not parts:
        return TopK(np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64))
    return TopK(np.concatenate([part.scores for part in parts]), np.concatenate([part.rows for part in parts]))


@dataclass
class _Candidates:
    """Pairs that may be among the first k: `row` of the query, `column` of the gallery, float32 `value`."""

    row: list[np.ndarray] = field(default_factory=list)
    column: list[np.ndarray] = field(default_factory=list)
    value: list[np.ndarray] = field(default_factory=list)
    count: int = 0

    def add(self, row: np.ndarray, column: np.ndarray, value: np.ndarray) -> None:
        self.row.append(row)
        self.column.append(column)
        self.value.append(value)
        self.count += len(row)

    def all(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.concatenate(self.row), np.concatenate(self.column), np.concatenate(self.value)

    def replace(self, row: np.ndarray, column: np.ndarray, value: np.ndarray) -> None:
        self.row, self.column, self.value, self.count = [row], [column], [value], len(row)


class _Search:
    """One pass over the gallery for some queries."""

    def __init__(
        self,
        queries: np.ndarray,
        gallery: Gallery,
        k: int,
        usable: np.ndarray | None,
        step: int,
        device: torch.device,
    ) -> None:
        self.queries, self.gallery, self.k, self.usable = queries, gallery, k, usable
        self.step, self.device = step, device
        width = gallery.shape[1]
        norms = np.sqrt(np.einsum("ij,ij->i", queries.astype(np.float64), queries.astype(np.float64)))
        # |computed - true| <= n 2^-24 sum |a||b| in any order of adding (Higham, 2nd ed., eq. 3.5); Cauchy-Schwarz.
        self.size = norms * gallery.largest
        self.error = 1.01 * (width + 1) * 2.0**-24 * self.size + 1e-30
        self.best = np.full((len(queries), k), -np.inf, dtype=np.float32)
        self.cut = np.full(len(queries), -np.inf, dtype=np.float32)
        self.found = _Candidates()
        self.most = max(2 * len(queries) * k, LEAST_CANDIDATES)

    def run(self) -> TopK:
        for start, scores in self._tiles():
            self._take(start, scores)
            if self.found.count > self.most:
                self._prune()
        row, column, value = self._reaching()
        nearest = self._ranked(row, column, value)
        pairs = np.repeat(np.arange(len(self.queries)), self.k)
        scores, _ = _Products(self.queries, self.gallery, nearest.ravel(), self.size).exact(pairs, nearest.ravel())
        return TopK(scores.reshape(nearest.shape), nearest)

    def _tiles(self) -> Iterator[tuple[int, torch.Tensor]]:
        """The first row of each tile with its products (queries, rows); the buffer is used again by the next tile."""
        rows, width = self.gallery.shape
        left = torch.from_numpy(self.queries).to(self.device)
        block = torch.empty(self.step, width, device=self.device)
        out = torch.empty(len(left) * self.step, device=self.device)
        for start in range(0, rows, self.step):
            stop, at = min(start + self.step, rows), 0
            for piece in self.gallery.pieces(start, stop):
                block[at : at + len(piece)].copy_(torch.from_numpy(piece))
                at += len(piece)
            tile = out[: len(left) * (stop - start)].view(len(left), stop - start)
            torch.mm(left, block[: stop - start].T, out=tile)
            if start == 0:
                self._require_precise(tile, left, block)
            if self.usable is not None and not (here := self.usable[start:stop]).all():
                tile[:, torch.from_numpy(~here).to(self.device)] = -torch.inf
            yield start, tile

    def _require_precise(self, tile: torch.Tensor, left: torch.Tensor, block: torch.Tensor) -> None:
        a, b = left[:8].double(), block[: min(256, tile.shape[1])].double()
        allowed = torch.from_numpy(self.error[:8]).to(self.device)[:, None]
        off = (tile[:8, :256].double() - a @ b.T).abs() > allowed
        if bool(off.any()):
            raise StructureError(TOO_COARSE.format(precision=torch.get_float32_matmul_precision()))

    def _take(self, start: int, scores: torch.Tensor) -> None:
        """Take in what reaches the cut of its query, and raise the cuts."""
        cut = torch.from_numpy(self.cut).to(self.device)
        reached = scores.amax(dim=1) >= cut
        if start == 0:  # nothing is cut off yet: the first tile's own k-th best does it
            values = scores.topk(min(self.k, scores.shape[1]), dim=1).values
            self._raise(np.arange(len(self.queries)), values.cpu().numpy())
            cut = torch.from_numpy(self.cut).to(self.device)
        if not bool(reached.any()):
            return
        rows = reached.nonzero()[:, 0]
        part = scores if len(rows) == len(scores) else scores[rows]
        at, column = (part >= torch.maximum(cut[rows], torch.tensor(-3e38, device=self.device))[:, None]).nonzero(
            as_tuple=True
        )
        value = part[at, column].cpu().numpy()
        row = rows[at].cpu().numpy()
        self.found.add(row, column.cpu().numpy() + start, value)
        if start:
            self._merge(row, value)

    def _merge(self, row: np.ndarray, value: np.ndarray) -> None:
        """Raise the best values of the queries that got new ones; `row` ascending."""
        by_value = np.lexsort((-value, row))
        row, value = row[by_value], value[by_value]
        first = order.run_starts(row)
        rank = np.arange(len(row)) - np.repeat(first, np.diff(first, append=len(row)))
        which, at = np.unique(row, return_inverse=True)
        new = np.full((len(which), self.k), -np.inf, dtype=np.float32)
        few = rank < self.k
        new[at[few], rank[few]] = value[few]
        self._raise(which, new)

    def _raise(self, which: np.ndarray, values: np.ndarray) -> None:
        both = np.concatenate([self.best[which], values], axis=1)
        self.best[which] = -np.sort(-both, axis=1)[:, : self.k]
        # k computed values reach the k-th best, so k true ones reach it less the error; a true one in their company
        # is computed as at least that less the error again.
        least = self.best[which, -1] - 2 * self.error[which]
        self.cut[which] = np.nextafter(least.astype(np.float32), np.float32(-np.inf))

    def _reaching(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The candidates that still reach the cut, by query and value."""
        row, column, value = self.found.all()
        keep = value >= self.cut[row]
        row, column, value = row[keep], column[keep], value[keep]
        by_value = np.lexsort((column, -value, row))
        return row[by_value], column[by_value], value[by_value]

    def _prune(self) -> None:
        """Forget candidates below the cut; where many near-ties are left, all but the first k of each query."""
        row, column, value = self._reaching()
        if len(row) > self.most // 2 and (np.bincount(row, minlength=len(self.queries)) >= self.k).all():
            nearest = self._ranked(row, column, value)
            rows, query = self.gallery.shape[0], np.repeat(np.arange(len(self.queries)), self.k)
            keep = np.isin(row * rows + column, query * rows + nearest.ravel())
            row, column, value = row[keep], column[keep], value[keep]
        self.found.replace(row, column, value)

    def _ranked(self, row: np.ndarray, column: np.ndarray, value: np.ndarray) -> np.ndarray:
        products = _Products(self.queries, self.gallery, column, self.size)
        refinements = [products.double, products.exact]
        return order.rank(row, column, value.astype(np.float64), self.error[row], self.k, refinements)


class _Products:
    """Inner products of chosen pairs, more precisely than a tile's; rows of the gallery that are equal count once."""

    def __init__(self, queries: np.ndarray, gallery: Gallery, columns: np.ndarray, size: np.ndarray) -> None:
        self.queries, self.size, self.width = queries, size, gallery.shape[1]
        self.columns = np.unique(columns)
        values = _rows(gallery, self.columns)
        packed = np.ascontiguousarray(values).view(np.dtype((np.void, values.itemsize * self.width)))[:, 0]
        _, first, self.same = np.unique(packed, return_index=True, return_inverse=True)
        self.values = values[first].astype(np.float64)

    def double(self, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """In float64, with the bound of its rounding."""

        def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
            return np.asarray(np.einsum("ij,ij->i", left, right))

        return self._each(row, column, product), (2 * self.width + 64) * 2.0**-53 * self.size[row]

    def exact(self, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rounded to the grid on which equal means equal; no error."""
        return self._each(row, column, exact.products), np.zeros(len(row))

    def _each(
        self, row: np.ndarray, column: np.ndarray, product: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        code = row.astype(np.int64) * len(self.values) + self.same[np.searchsorted(self.columns, column)]
        pairs, back = np.unique(code, return_inverse=True)
        left, right = np.divmod(pairs, len(self.values))
        step = max(1, (1 << 21) // self.width)
        parts = [
            product(self.queries[left[a : a + step]].astype(np.float64), self.values[right[a : a + step]])
            for a in range(0, len(pairs), step)
        ]
        return np.asarray(np.concatenate(parts)[back])


def _rows(gallery: Gallery, rows: np.ndarray, span: int = 4096) -> np.ndarray:
    """Some rows of the gallery (ascending), copied together."""
    parts = []
    for first in np.unique(rows // span) * span:
        here = rows[(rows >= first) & (rows < first + span)]
        low, high = int(here[0]), int(here[-1]) + 1
        pieces = gallery.pieces(low, high)
        whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        parts.append(whole[here - low])
    return np.asarray(np.concatenate(parts))
