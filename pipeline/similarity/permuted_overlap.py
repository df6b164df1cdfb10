"""Shared neighbours of every layer pair under many permutations of one side's rows, all layers in one pass.

The layers of a side are one bit each of a word: an edge row -> neighbour that several layers have is looked up once.
One side is a dense table of words, the other the list of its edges, which a permutation renames; where a renamed edge
meets a word, the pairs of set bits are counted. Unrelated sides meet rarely, so what a permutation costs are two reads
an edge: of the renamed target, and of whether the row has anything there. The second goes to a filter, a byte for
every target or for all targets that are equal modulo `FILTERED`, of so few rows that it stays in a core's own cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice

import numpy as np

from structure.pipeline.device import cores, side_by_side

MOST_LAYERS = 64
"""Bits of a word."""

FILTERED = 1 << 13
"""Bytes of a row's filter, a power of two up to 2^15: 100 neighbours let one in 80 of the other edges pass."""

FILTER_BYTES = 1 << 21
"""Of the filter of the rows that are taken at one time: of fewer, what a permutation says is read anew too often."""

TABLE_BYTES = 1 << 25
"""Of the dense words of the rows that are taken at one time."""

ORDER_BYTES = 1 << 26
"""Of the permutations that are taken at one time."""


def permuted_totals(vision: np.ndarray, text: np.ndarray, permutations: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """`(Lv, Lt)` int64 for each permutation s (rows,): sum over rows of the neighbours that both layers share when text
    row n is row s(n).

    `vision` (Lv, rows, k) and `text` (Lt, rows, k) are neighbour tables. The same numbers as `shared_totals` of text
    tables whose rows are moved and whose entries are renamed.
    """
    if max(len(vision), len(text)) > MOST_LAYERS:
        return _in_parts(vision, text, list(permutations))
    orders = map(_Order.of, permutations)
    if len(vision) < len(text):  # the side with fewer layers has fewer edges
        return (totals.T for totals in _totals(text, _edges(vision), map(_Order.inverse, orders)))
    return _totals(vision, _edges(text), orders)


@dataclass(frozen=True)
class _Order:
    """A permutation: row n becomes row `to[n]`, and row n was row `origin[n]`, both (rows,) int32. `filtered` (rows +
    1,) uint16: the column of a filter in which a target is looked for when it is renamed, the last one for no row."""

    to: np.ndarray
    origin: np.ndarray

    @cached_property
    def filtered(self) -> np.ndarray:
        columns = np.append(self.to & np.int32(FILTERED - 1), _filter_width(len(self.to)) - 1)
        return columns.astype(np.uint16)

    @classmethod
    def of(cls, permutation: np.ndarray) -> _Order:
        origin = np.empty(len(permutation), np.int32)
        origin[permutation] = np.arange(len(permutation), dtype=np.int32)
        return cls(permutation.astype(np.int32), origin)

    def inverse(self) -> _Order:
        return _Order(self.origin, self.to)


@dataclass(frozen=True)
class _Edges:
    """The edges of all layers of a side: row n has those to `targets[n]` (rows, most) int32, each with the layers that
    have it as bits of `words` (rows, most). Rows with fewer edges are filled up with the target `rows`, which no row
    is."""

    targets: np.ndarray
    words: np.ndarray
    layers: int


def _totals(tables: np.ndarray, edges: _Edges, orders: Iterator[_Order]) -> Iterator[np.ndarray]:
    """`(layers, edges.layers)` int64 of each permutation of the edges' rows."""
    at_once = max(1, ORDER_BYTES // (10 * tables.shape[1]))
    while some := list(islice(orders, at_once)):
        totals = np.zeros((len(some), len(tables), edges.layers), np.int64)
        for part in side_by_side(partial(_of_rows, tables, edges, some), _row_ranges(tables), at_once=cores()):
            totals += part
        yield from totals


def _of_rows(tables: np.ndarray, edges: _Edges, orders: list[_Order], bounds: tuple[int, int]) -> np.ndarray:
    """`(orders, layers, edges.layers)` int64 of the rows within the bounds."""
    rows = _DenseRows(tables, *bounds, edges)
    return np.stack([rows.met(order) for order in orders])


class _DenseRows:
    """The dense words of rows `start` to `stop`, one column more than there are rows: nothing is ever there.

    The arrays of a permutation are made once: to ask the system for them each time takes as long as to fill them.
    """

    def __init__(self, tables: np.ndarray, start: int, stop: int, edges: _Edges) -> None:
        self.start, self.stop, self.layers, self.edges = start, stop, len(tables), edges
        rows = tables.shape[1]
        masks = _masks(len(tables))
        self.words = np.zeros((stop - start, rows + 1), masks.dtype)
        self._filter = np.zeros((stop - start, _filter_width(rows)), bool)
        line = np.arange(stop - start)[:, None]
        for mask, table in zip(masks, tables[:, start:stop], strict=True):
            self.words[line, table] |= mask
            self._filter[line, table & (FILTERED - 1)] = True
        self._base = (line * self._filter.shape[1]).astype(np.int32)
        shape = (stop - start, edges.targets.shape[1])
        self._targets, self._index = (np.empty(shape, np.int32) for _ in range(2))
        self._column = np.empty(shape, np.uint16)
        self._passed = np.empty(shape, bool)

    def met(self, order: _Order) -> np.ndarray:
        """`(layers, edges.layers)` int64: how often a layer here and one of the renamed edges have the same edge."""
        most = self._index.shape[1]
        origin = order.origin[self.start : self.stop]
        # All indices are within bounds: "clip" only spares numpy a copy.
        np.take(self.edges.targets, origin, axis=0, out=self._targets, mode="clip")
        np.take(order.filtered, self._targets, out=self._column, mode="clip")
        np.add(self._column, self._base, out=self._index)
        np.take(self._filter, self._index, out=self._passed, mode="clip")
        row, place = np.divmod(np.flatnonzero(self._passed), most)
        own = self.words[row, order.to[self._targets[row, place]]]
        met = np.flatnonzero(own)
        theirs = self.edges.words[origin[row[met]], place[met]]
        ours, other = _planes(own[met], self.layers), _planes(theirs, self.edges.layers)
        return np.stack([np.bitwise_count(plane & other).sum(axis=1, dtype=np.int64) for plane in ours])


def _filter_width(rows: int) -> int:
    """Columns of a filter, the last of which is never set."""
    return min(rows, FILTERED) + 1


def _row_ranges(tables: np.ndarray) -> list[tuple[int, int]]:
    """Row ranges whose filter fits `FILTER_BYTES`, and whose dense words fit `TABLE_BYTES`."""
    rows = tables.shape[1]
    dense = TABLE_BYTES // ((rows + 1) * _masks(len(tables)).itemsize)
    step = max(1, min(FILTER_BYTES // _filter_width(rows), dense))
    return [(start, min(start + step, rows)) for start in range(0, rows, step)]


def _edges(tables: np.ndarray) -> _Edges:
    layers, rows, _ = tables.shape
    parts = [_sparse(tables[:, start : start + _SORTED]) for start in range(0, rows, _SORTED)]
    counts = np.concatenate([part[2] for part in parts])
    is_edge = np.arange(int(counts.max()))[None] < counts[:, None]
    targets = np.full(is_edge.shape, rows, np.int32)
    words = np.zeros(is_edge.shape, parts[0][1].dtype)
    targets[is_edge], words[is_edge] = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    return _Edges(targets, words, layers)


_SORTED = 4096
"""Rows whose edges are put together at one time."""


def _sparse(tables: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(targets, words, edges a row), row after row, of some rows of neighbour tables."""
    layers, rows, _ = tables.shape
    layer = np.arange(layers, dtype=np.int64)[:, None, None]
    coded = np.sort(((tables.astype(np.int64) << 6) | layer).transpose(1, 0, 2).reshape(rows, -1), axis=1)
    targets = coded >> 6
    begins = np.ones(coded.shape, bool)
    begins[:, 1:] = targets[:, 1:] != targets[:, :-1]
    words = np.bitwise_or.reduceat(_masks(layers)[coded & 63].ravel(), np.flatnonzero(begins))
    return targets[begins].astype(np.int32), words, np.count_nonzero(begins, axis=1)


def _masks(layers: int) -> np.ndarray:
    """(layers,): the bit of each layer, in the smallest words that have so many."""
    kinds = (np.uint8, np.uint16, np.uint32, np.uint64)
    word = next(kind for kind in kinds if layers <= 8 * kind().itemsize)
    return np.left_shift(word(1), np.arange(layers, dtype=word))


def _planes(words: np.ndarray, count: int) -> np.ndarray:
    """`(count, words / 8)` uint8: each of the lowest bits of all words, packed."""
    return np.packbits((words & _masks(count)[:, None]) != 0, axis=1)


def _in_parts(vision: np.ndarray, text: np.ndarray, permutations: list[np.ndarray]) -> Iterator[np.ndarray]:
    """More layers than bits: some of each side at a time."""
    columns = [
        [permuted_totals(ours, theirs, permutations) for theirs in _some_layers(text)] for ours in _some_layers(vision)
    ]
    for _ in permutations:
        yield np.concatenate([np.concatenate([next(each) for each in row], axis=1) for row in columns])


def _some_layers(tables: np.ndarray) -> list[np.ndarray]:
    return [tables[first : first + MOST_LAYERS] for first in range(0, len(tables), MOST_LAYERS)]
