"""Shared neighbours of every layer pair under many permutations of one side's rows, all layers in one pass.

The layers of a side are one bit each of a word: an edge row -> neighbour that several layers have is looked up once.
One side is a dense table of words, the other the list of its edges, which a permutation renames; where a renamed edge
meets a word, the pairs of set bits are counted. Unrelated sides meet rarely, so a permutation costs one read an edge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

MOST_LAYERS = 64
"""Bits of a word."""

TABLE_BYTES = 1 << 26
"""Of the dense table that is held at one time: tables of fewer rows than that holds are made once for all
permutations in a row."""


def permuted_totals(vision: np.ndarray, text: np.ndarray, permutations: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """`(Lv, Lt)` int64 for each permutation s (rows,): sum over rows of the neighbours that both layers share when text
    row n is row s(n).

    `vision` (Lv, rows, k) and `text` (Lt, rows, k) are neighbour tables. The same numbers as `shared_totals` of text
    tables whose rows are moved and whose entries are renamed.
    """
    if max(len(vision), len(text)) > MOST_LAYERS:
        return _in_parts(vision, text, list(permutations))
    if len(vision) < len(text):  # the side with fewer layers has fewer edges
        inverse = (np.argsort(permutation) for permutation in permutations)
        return (totals.T for totals in _totals(text, _edges(vision), inverse))
    return _totals(vision, _edges(text), permutations)


@dataclass(frozen=True)
class _Edges:
    """The edges of all layers of a side: row n has those to `targets[n]` (rows, most) int32, each with the layers that
    have it as bits of `words` (rows, most). Rows with fewer edges are filled up with the target `rows`, which no row
    is."""

    targets: np.ndarray
    words: np.ndarray
    layers: int


def _totals(tables: np.ndarray, edges: _Edges, permutations: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """`(layers, edges.layers)` int64 of each permutation of the edges' rows."""
    parts = list(_chunks(tables))
    if len(parts) == 1:
        part = _DenseRows(tables, *parts[0], edges)
        yield from map(part.met, permutations)
        return
    every = list(permutations)
    totals = np.zeros((len(every), len(tables), edges.layers), np.int64)
    for bounds in parts:
        part = _DenseRows(tables, *bounds, edges)
        for total, permutation in zip(totals, every, strict=True):
            total += part.met(permutation)
    yield from totals


class _DenseRows:
    """The dense words of rows `start` to `stop`, one column more than there are rows: nothing is ever there.

    The arrays of a permutation are made once: to ask the system for them each time takes as long as to fill them.
    """

    def __init__(self, tables: np.ndarray, start: int, stop: int, edges: _Edges) -> None:
        self.start, self.stop, self.layers, self.edges = start, stop, len(tables), edges
        self.words = _dense(tables, start, stop)
        self.base = (np.arange(stop - start, dtype=np.int64) * (tables.shape[1] + 1))[:, None]
        shape = (stop - start, edges.targets.shape[1])
        self._targets, self._index = np.empty(shape, edges.targets.dtype), np.empty(shape, np.int64)
        self._found = np.empty(shape, self.words.dtype)

    def met(self, permutation: np.ndarray) -> np.ndarray:
        """`(layers, edges.layers)` int64: how often a layer here and one of the renamed edges have the same edge."""
        rows, most = len(permutation), self._index.shape[1]
        origin = np.empty(rows, np.int64)
        origin[permutation] = np.arange(rows)
        origin = origin[self.start : self.stop]
        renamed = np.append(permutation.astype(np.int64), rows)
        # All indices are within bounds: "clip" only spares numpy a copy.
        np.take(self.edges.targets, origin, axis=0, out=self._targets, mode="clip")
        np.take(renamed, self._targets, out=self._index, mode="clip")
        np.add(self._index, self.base, out=self._index)
        np.take(self.words, self._index, out=self._found, mode="clip")
        met = np.flatnonzero(self._found)
        theirs = self.edges.words[origin[met // most], met % most]
        # Fewer than 2^24 meet in one part: float32 counts them exactly.
        both = _bits(self._found.ravel()[met], self.layers).T @ _bits(theirs, self.edges.layers)
        return np.asarray(both, dtype=np.int64)


def _edges(tables: np.ndarray) -> _Edges:
    parts = [_sparse(_dense(tables, start, stop), tables.shape[1] + 1) for start, stop in _chunks(tables)]
    counts = np.concatenate([part[2] for part in parts])
    is_edge = np.arange(int(counts.max()))[None] < counts[:, None]
    targets = np.full(is_edge.shape, tables.shape[1], np.int32)
    words = np.zeros(is_edge.shape, parts[0][1].dtype)
    targets[is_edge], words[is_edge] = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    return _Edges(targets, words, len(tables))


def _sparse(words: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(targets, words, edges a row) of dense words, row after row."""
    where = np.flatnonzero(words)
    counts = np.count_nonzero(words.reshape(-1, width), axis=1)
    return where % width, words[where], counts


def _dense(tables: np.ndarray, start: int, stop: int) -> np.ndarray:
    """`((stop - start) * (rows + 1),)` words: bit l of row n, column m is set where m is in row n of layer l."""
    word = _word(len(tables))
    width = tables.shape[1] + 1
    base = (np.arange(stop - start, dtype=np.int64) * width)[:, None]
    words = np.zeros((stop - start) * width, word)
    for layer, table in enumerate(tables):
        words[table[start:stop] + base] |= word(1 << layer)
    return words


def _chunks(tables: np.ndarray) -> Iterator[tuple[int, int]]:
    """Row ranges whose dense words fit `TABLE_BYTES`."""
    rows = tables.shape[1]
    step = max(1, TABLE_BYTES // ((rows + 1) * _word(len(tables))().itemsize))
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def _word(layers: int) -> type[np.unsignedinteger]:
    kinds: tuple[type[np.unsignedinteger], ...] = (np.uint8, np.uint16, np.uint32, np.uint64)
    return next(kind for kind in kinds if layers <= 8 * kind().itemsize)


def _bits(words: np.ndarray, count: int) -> np.ndarray:
    """`(words, count)` float32 of 0 and 1: the lowest bits of each word."""
    shifts = np.arange(count, dtype=words.dtype)
    return np.asarray((words[:, None] >> shifts) & words.dtype.type(1), dtype=np.float32)


def _in_parts(vision: np.ndarray, text: np.ndarray, permutations: list[np.ndarray]) -> Iterator[np.ndarray]:
    """More layers than bits: some of each side at a time."""
    columns = [
        [permuted_totals(ours, theirs, permutations) for theirs in _some_layers(text)] for ours in _some_layers(vision)
    ]
    for _ in permutations:
        yield np.concatenate([np.concatenate([next(each) for each in row], axis=1) for row in columns])


def _some_layers(tables: np.ndarray) -> list[np.ndarray]:
    return [tables[first : first + MOST_LAYERS] for first in range(0, len(tables), MOST_LAYERS)]
