"""What a ranking would search, before it does: the neighbour tables that are not cached, and the time of a probe."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np

from structure.pipeline.device import one_thread
from structure.pipeline.ranking.distinct_pairs import ranked_pairs
from structure.pipeline.ranking.neighbour_cache import NeighbourCache
from structure.pipeline.ranking.options import RankingOptions
from structure.pipeline.run_context import RunContext
from structure.pipeline.similarity.k_rules import k_of
from structure.pipeline.similarity.knn.neighbour_tables import searches_at_once
from structure.pipeline.similarity.knn.neighbours import FEWEST_A_NEIGHBOUR, neighbours
from structure.pipeline.similarity.knn.search_size import table_bytes
from structure.pipeline.similarity.registry import SIMILARITIES
from structure.pipeline.work_estimate import WorkEstimate, require_space
from structure.store import FeatureSet, Rows, Store

PROBED = 2048
"""Rows of the first timed search; the second has twice as many."""


def estimate_tables(
    context: RunContext, pairs: Sequence[tuple[FeatureSet, FeatureSet]], options: RankingOptions, *, memory: int
) -> list[WorkEstimate]:
    """The neighbour tables of each side of every two feature sets, each once; cached ones have nothing pending.

    Raises StructureError for too few rows, and where the disk cannot hold the tables.
    """
    store, device = context.store, context.resolved_device
    parts: dict[tuple[str, int], WorkEstimate] = {}
    for sets in pairs:
        rows_of = ranked_pairs(store, *sets, options).rows
        for features, rows in zip(sets, (rows_of.vision, rows_of.text), strict=True):
            if (features.key, len(rows)) not in parts:
                parts[features.key, len(rows)] = _of_tables(store, features, rows, options, device, memory)
    require_space(store, list(parts.values()))
    return list(parts.values())


def _of_tables(
    store: Store, features: FeatureSet, rows: np.ndarray, options: RankingOptions, device: str, memory: int
) -> WorkEstimate:
    """What the layers of one feature set take among these rows."""
    if not SIMILARITIES[options.metric].needs_neighbours:
        return WorkEstimate(f"layers of {features.key}", len(rows), len(features.layers), 0, memory, None)
    k = k_of(options.rule, len(rows))
    cache = NeighbourCache(store, features, rows, preprocessing=f"clamp={options.clamp}" if options.clamp else "")
    pending = [layer for layer in features.layers if cache.load(layer, k=k) is None]
    seconds = _search_seconds(features, pending, rows, k, device, memory) if pending else 0.0
    what = f"neighbour tables of {features.key}"
    return WorkEstimate(what, len(rows), len(pending), table_bytes(len(pending), len(rows), k), memory, seconds)


def _search_seconds(
    features: FeatureSet, layers: Sequence[str], rows: np.ndarray, k: int, device: str, memory: int
) -> float:
    """Searches among two numbers of rows of one layer, and what they say of all: a part of the time grows with the
    square of the rows, products, the rest with their number, as candidates do; both with the width."""
    few = min(max(PROBED, FEWEST_A_NEIGHBOUR * (k + 1)), len(rows) // 2)
    columns = [features.manifest.column(layer) for layer in layers]
    some = np.asarray(Rows(features, layers[0], rows[: 2 * few])[:])
    at_once = searches_at_once({layer: Rows(features, layer, rows) for layer in layers}, memory)
    with one_thread() if at_once > 1 else nullcontext():
        once, twice = (_seconds(some[:count], k, device) for count in (few, 2 * few))
    square = max((twice - 2 * once) / (2 * few**2), twice / (4 * few) ** 2)  # never less than a quarter of the time
    line = max(twice / (2 * few) - square * 2 * few, 0.0)
    of_layer = square * len(rows) ** 2 + line * len(rows)
    return of_layer * sum(column.width for column in columns) / columns[0].width / at_once


def _seconds(some: np.ndarray, k: int, device: str) -> float:
    """Of a search, the faster of two: the first of a process begins slowly."""
    taken = []
    for _ in range(2):
        began = time.perf_counter()
        neighbours(some, k=min(k, len(some) - 1), device=device)
        taken.append(time.perf_counter() - began)
    return min(taken)
