"""What a ranking would search, before it does: the neighbour tables that are not cached, and the time of a probe."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from structure.pipeline.ranking.distinct_pairs import ranked_pairs
from structure.pipeline.ranking.neighbour_cache import NeighbourCache
from structure.pipeline.ranking.options import RankingOptions
from structure.pipeline.run_context import RunContext
from structure.pipeline.similarity.k_rules import k_of
from structure.pipeline.similarity.knn.neighbours import neighbours
from structure.pipeline.similarity.knn.search_size import table_bytes
from structure.pipeline.similarity.registry import SIMILARITIES
from structure.pipeline.work_estimate import WorkEstimate, require_space
from structure.store import FeatureSet, Rows, Store

PROBED = 1024
"""Rows of the timed searches."""


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
    seconds = _search_seconds(features, pending, rows, k, device) if pending else 0.0
    what = f"neighbour tables of {features.key}"
    return WorkEstimate(what, len(rows), len(pending), table_bytes(len(pending), len(rows), k), memory, seconds)


def _search_seconds(features: FeatureSet, layers: Sequence[str], rows: np.ndarray, k: int, device: str) -> float:
    """A search among `PROBED` rows of one layer, scaled: products grow with the square of the rows and the width."""
    some = np.asarray(Rows(features, layers[0], rows[:PROBED])[:])
    began = time.perf_counter()
    neighbours(np.asarray(some, np.float32), k=min(k, len(some) - 1), device=device)
    took = time.perf_counter() - began
    widths = [features.manifest.column(layer).width for layer in layers]
    return took * (len(rows) / len(some)) ** 2 * sum(widths) / widths[0]
