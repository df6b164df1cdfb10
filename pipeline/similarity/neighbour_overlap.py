"""All layer pairs at once from neighbour tables: shared neighbours for every k, and cycles.

For a chunk of rows, a scratch array (rows of the chunk x all rows) is filled from one side's tables and read at the
other side's entries. So a pair of layers costs k reads a row, whatever the number of rows, and no table is sorted or
searched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from structure.store.errors import StructureError

_SCRATCH = 1 << 21


def stacked(vision: Sequence[np.ndarray], text: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Both sides' tables as `(layers, rows, k)` int32. Raises StructureError where rows or k do not fit."""
    rows = {len(table) for table in (*vision, *text)}
    if len(rows) > 1:
        raise StructureError(
            f"Neighbour tables have {min(rows)} and {max(rows)} rows: row i of every layer must be the same sample, "
            "or no neighbour is comparable. Extract both encoders over the same dataset, split and --limit."
        )
    short = min(table.shape[1] for table in (*vision, *text))
    if short < k:
        raise StructureError(
            f"A neighbour table holds {short} neighbours of each row; this asks for {k}. Rank again with --k {k}."
        )
    return np.stack([t[:, :k] for t in vision]), np.stack([t[:, :k] for t in text])


def matches(vision: np.ndarray, text: np.ndarray) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """`(i, j, p, q)` for every layer pair: the flat places where both tables name the same neighbour of the same row.

    `vision` (Lv, rows, k), `text` (Lt, rows, k); `p` and `q` (shared,) int64 are row * k + rank in either table, `p`
    ascending. Unrelated tables share about k * k entries in all, so what is made from matches costs almost only the
    reads.
    """
    rows, k = vision.shape[1:]
    rank = np.arange(k, dtype=np.int16)
    for j, table in enumerate(text):
        shared: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in vision]
        for start, stop, base in _chunks(rows, 2):
            scratch = np.full((stop - start) * rows, k, np.int16)
            scratch[table[start:stop] + base] = rank
            for i, own in enumerate(vision):
                there = scratch[own[start:stop] + base].ravel()
                p = np.flatnonzero(there < k)
                shared[i].append((p + start * k, (p // k + start) * k + there[p]))
        for i, parts in enumerate(shared):
            p, q = (np.concatenate(side) for side in zip(*parts, strict=True))
            yield i, j, p, q


def mutual_curve(vision: Sequence[np.ndarray], text: Sequence[np.ndarray]) -> np.ndarray:
    """`(k_max, Lv, Lt)` float64: mutual kNN of every layer pair for every k from 1 to k_max (first index k - 1).

    mean_i |N_v(i) n N_t(i)| / k (Huh et al., "The Platonic Representation Hypothesis", 2024, appendix A), self
    excluded. A neighbour of rank p on one side and q on the other counts from k = max(p, q) on: one pass serves every
    k.
    """
    k = min(table.shape[1] for table in (*vision, *text))
    v, t = stacked(vision, text, k)
    rows = v.shape[1]
    first_shared = np.zeros((len(v), len(t), k + 1), np.int64)
    rank = np.broadcast_to(np.arange(k, dtype=np.int16), (1, 1, k))
    shift = ((k + 1) * np.arange(len(v), dtype=np.int32))[:, None, None]
    for start, stop, base in _chunks(rows, 2):
        scratch = np.full((stop - start) * rows, k, np.int16)
        ours = v[:, start:stop] + base
        for j in range(len(t)):
            theirs = t[j, start:stop] + base
            scratch[theirs] = rank[0]
            later = np.maximum(scratch[ours], rank)
            first_shared[:, j] += np.bincount((later + shift).ravel(), minlength=len(v) * (k + 1)).reshape(
                len(v), k + 1
            )
            scratch[theirs] = k
    shared = first_shared[:, :, :k].cumsum(axis=2)
    return np.moveaxis(shared, 2, 0) / (np.arange(1, k + 1)[:, None, None] * float(rows))


def shared_counts(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`(rows,)` int64: |N_a(i) n N_b(i)| for two `(rows, k)` tables. Their mean / k is the mutual kNN of the pair."""
    merged = np.sort(np.concatenate([a, b], axis=1), axis=1)
    return np.asarray(np.count_nonzero(merged[:, 1:] == merged[:, :-1], axis=1))


def shared_totals(v: np.ndarray, t: np.ndarray) -> np.ndarray:
    """`(Lv, Lt)` int64: sum over rows of |N_v(i) n N_t(i)| for `(layers, rows, k)` tables, at one k.

    Up to 64 text layers share a scratch word, one bit each, so unrelated tables (a permutation null) cost almost only
    the reads.
    """
    totals = np.zeros((len(v), len(t)), np.int64)
    for first in range(0, len(t), 64):
        part = t[first : first + 64]
        word = np.uint32 if len(part) <= 32 else np.uint64
        for start, stop, base in _chunks(v.shape[1], word().itemsize):
            scratch = np.zeros((stop - start) * v.shape[1], word)
            for j, table in enumerate(part):
                scratch[table[start:stop] + base] |= word(1 << j)
            for i in range(len(v)):
                seen = scratch[v[i, start:stop] + base]
                totals[i, first : first + len(part)] += _bits(seen[seen != 0], len(part))
    return totals


def cycle_knn(vision: np.ndarray, text: np.ndarray, *, back: str = "vision") -> np.ndarray:
    """`(Lv, Lt)` float64: share of rows found again by going to the neighbours in one space and back through the other.

    `vision` (Lv, rows, k), `text` (Lt, rows, k). `back="vision"`: row n counts if n is a vision neighbour of one of
    n's text neighbours (text, then vision, then n); `back="text"` is the other direction. The two differ.
    """
    if back == "text":
        return cycle_knn(text, vision).T
    return cycles([reversed_edges(table) for table in vision], text) / float(vision.shape[1])


Edges = tuple[np.ndarray, np.ndarray]


def reversed_edges(table: np.ndarray) -> Edges:
    """`(target, origin)`, each (rows * k,) int64: the edges row -> neighbour of a `(rows, k)` table, by target."""
    rows, k = table.shape
    order = np.argsort(table.ravel(), kind="stable")
    return table.ravel()[order].astype(np.int64), np.repeat(np.arange(rows, dtype=np.int64), k)[order]


def cycles(back: Sequence[Edges], text: np.ndarray) -> np.ndarray:
    """`(layers, Lt)` int64: how many rows n have a text neighbour from which an edge leads back to n."""
    rows = text.shape[1]
    hits = np.zeros((len(back), len(text)), np.int64)
    for i, edges in enumerate(back):
        for first in range(0, len(text), 64):
            part = text[first : first + 64]
            for _, _, seen in _returned(edges, part, rows):
                hits[i, first : first + len(part)] += _bits(seen, len(part))
    return hits


def cycle_rows(back: Edges, table: np.ndarray) -> np.ndarray:
    """`(rows,)` bool: the rows that `cycles` counts for one pair."""
    is_reached = np.zeros(len(table), bool)
    for start, stop, seen in _returned(back, table[None], len(table)):
        is_reached[start:stop] = seen != 0
    return is_reached


def _returned(edges: Edges, text: np.ndarray, rows: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """`(start, stop, seen)`: for each row of a chunk one bit a text layer (64 at most), set where the row is found
    again."""
    target, origin = edges
    for start, stop, base in _chunks(rows, 8):
        scratch = np.zeros((stop - start) * rows, np.uint64)
        for j, other in enumerate(text):
            scratch[other[start:stop] + base] |= np.uint64(1 << j)
        a, b = np.searchsorted(target, [start, stop])
        seen = np.zeros(stop - start, np.uint64)
        np.bitwise_or.at(seen, target[a:b] - start, scratch[(target[a:b] - start) * rows + origin[a:b]])
        yield start, stop, seen


def _bits(words: np.ndarray, count: int) -> np.ndarray:
    """How many of the words have each of the lowest `count` bits set."""
    return np.array([np.count_nonzero(words & words.dtype.type(1 << j)) for j in range(count)], np.int64)


def _chunks(rows: int, itemsize: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """`(start, stop, offsets)`: row ranges whose scratch fits a core's cache, and where each row's scratch begins."""
    step = max(1, _SCRATCH // (rows * itemsize))
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        yield start, stop, (np.arange(stop - start, dtype=np.int64) * rows)[:, None]
