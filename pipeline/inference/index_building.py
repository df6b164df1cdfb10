"""Building a vector index from a gallery, and measuring it against exact search."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from structure.pipeline.inference.gallery import SplitGallery
from structure.pipeline.inference.index_kinds import IndexKind
from structure.pipeline.progress import Listener, Progress
from structure.pipeline.similarity.knn.top_k import Gallery, top_k

K = 10
QUERIES = 400
"""Queries of a measurement, at most: every second one chooses the effort, the others measure."""
TIMED = 30
"""Queries that are timed, one at a time."""
ROUNDING = 1e-5
"""Of float32 products: a row whose score is that near to the tenth best counts as one of them."""


@dataclass(frozen=True)
class IndexRecall:
    """How good an index is. `recall_at_10`: the share of the ten nearest by exact search, equal scores counted, that it
    finds, over `queries` queries, which are `queries_are`; none of them chose the effort. Times are of one query, the
    median."""

    recall_at_10: float
    queries: int
    queries_are: str
    milliseconds: float
    exact_milliseconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def add_rows(kind: IndexKind, index: Any | None, gallery: SplitGallery, rows: np.ndarray, listen: Listener) -> Any:
    """An index of these rows (ascending) of the gallery, or the given one with them added after its own."""
    if index is None:
        index = kind.make(gallery.shape[1], len(rows))
        count = kind.training_rows(len(rows))
        if count:
            index.train(values_of(gallery, rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]))
    wanted = np.zeros(len(gallery), dtype=bool)
    wanted[rows] = True
    done = 0
    for numbers, values in gallery.blocks(among=wanted):
        index.add(values.astype(np.float32))
        done += len(numbers)
        listen(Progress("indexing", done, len(rows)))
    return index


def values_of(gallery: SplitGallery, rows: np.ndarray) -> np.ndarray:
    """(n, dim) float32 of some rows of a gallery, in their order there, each once."""
    wanted = np.zeros(len(gallery), dtype=bool)
    wanted[rows] = True
    parts = [values.astype(np.float32) for _, values in gallery.blocks(among=wanted)]
    return np.concatenate(parts)


def spread(rows: np.ndarray, count: int = QUERIES) -> np.ndarray:
    """At most so many of the rows, evenly spaced."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]


def measure(
    kind: IndexKind,
    index: Any,
    gallery: Gallery,
    rows: np.ndarray,
    queries: np.ndarray,
    *,
    are: str,
    target: float,
) -> tuple[int | None, IndexRecall]:
    """Give the index the least effort whose recall@10 reaches `target` on every second query (the most, where none
    does), and measure it on the others. `rows` are the gallery's that are in the index. Returns the effort."""
    wanted = np.zeros(gallery.shape[0], dtype=bool)
    wanted[rows] = True
    exact = top_k(queries, gallery, k=K, usable=wanted).scores
    chooses = np.arange(len(queries)) % 2 == (1 if len(queries) > 1 else 0)
    effort = None
    for effort in kind.efforts(index):
        kind.spend(index, effort)
        if _recall(index, queries[chooses], exact[chooses]) >= target:
            break
    rest = ~chooses if len(queries) > 1 else chooses
    timed = queries[rest][:TIMED]
    return effort, IndexRecall(
        _recall(index, queries[rest], exact[rest]),
        int(rest.sum()),
        are,
        _milliseconds(lambda query: index.search(query, K), timed),
        _milliseconds(lambda query: top_k(query, gallery, k=K, usable=wanted), timed),
    )


def _recall(index: Any, queries: np.ndarray, exact: np.ndarray) -> float:
    scores, found = index.search(queries, exact.shape[1])
    reached = (scores >= exact[:, -1:] - ROUNDING) & (found >= 0)
    return float(reached.mean())


def _milliseconds(search: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    times = []
    for query in queries:
        began = time.perf_counter()
        search(query[None])
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times))
