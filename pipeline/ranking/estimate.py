"""What a ranking would compute, before it does: tables that are not cached, the permutation test, timed by probes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from structure.pipeline.device import cores, one_thread
from structure.pipeline.ranking.distinct_pairs import RankedPairs, ranked_pairs
from structure.pipeline.ranking.neighbour_cache import NeighbourCache
from structure.pipeline.ranking.options import RankingOptions
from structure.pipeline.run_context import RunContext
from structure.pipeline.similarity.k_rules import k_of
from structure.pipeline.similarity.knn.neighbours import FEWEST_A_NEIGHBOUR, neighbours
from structure.pipeline.similarity.knn.search_size import table_bytes
from structure.pipeline.similarity.metric import ComparedLayers
from structure.pipeline.similarity.registry import SIMILARITIES
from structure.pipeline.similarity.stability import draw_subsets
from structure.pipeline.work_estimate import WorkEstimate, require_space
from structure.store import FeatureSet, Rows, Store

PROBED = 2048
"""Rows of the first timed search, and of the timed permutations; the second search has twice as many rows."""

PERMUTED = 4
"""Permutations that are timed."""

KEPT = 0.6
"""Of a layer's neighbours, those that the next layer of the tables for timed permutations has, too."""


def estimate_ranking(
    context: RunContext, pairs: Sequence[tuple[FeatureSet, FeatureSet]], options: RankingOptions, *, memory: int
) -> list[WorkEstimate]:
    """The neighbour tables of each side of every two feature sets, and those among the subsets on which the choice is
    repeated, each once (cached ones have nothing pending); then the permutation test of every two.

    Raises StructureError for too few rows, and where the disk cannot hold the tables.
    """
    tables: dict[tuple[str, int], list[WorkEstimate]] = {}
    tests = []
    for sets in pairs:
        ranked = ranked_pairs(context.store, *sets, options)
        for features, rows in zip(sets, (ranked.rows.vision, ranked.rows.text), strict=True):
            if (features.key, len(rows)) not in tables:
                side = _Side(context.store, features, rows, options, context.resolved_device, memory)
                tables[features.key, len(rows)] = side.estimates()
        if options.permutations:
            tests.append(_of_test(sets, ranked, options, memory))
    parts = [part for of_side in tables.values() for part in of_side]
    require_space(context.store, parts)
    return parts + tests


@dataclass(frozen=True)
class _Side:
    """The layers of one feature set among the ranked rows."""

    store: Store
    features: FeatureSet
    rows: np.ndarray
    options: RankingOptions
    device: str
    memory: int

    def estimates(self) -> list[WorkEstimate]:
        key, rows, layers = self.features.key, len(self.rows), self.features.layers
        if not SIMILARITIES[self.options.metric].needs_neighbours:
            return [WorkEstimate(f"layers of {key}", rows, len(layers), 0, self.memory, None)]
        clamp, k = self.options.clamp, k_of(self.options.rule, rows)
        cache = NeighbourCache(self.store, self.features, self.rows, preprocessing=f"clamp={clamp}" if clamp else "")
        pending = [layer for layer in layers if cache.load(layer, k=k) is None]
        seconds, disk = 0.0, table_bytes(len(pending), rows, k)
        if pending:
            seconds = self._seconds(pending, [rows], k)
        found = [WorkEstimate(f"neighbour tables of {key}", rows, len(pending), disk, self.memory, seconds)]
        return found + self._of_subsets(cache, k)

    def _of_subsets(self, cache: NeighbourCache, k: int) -> list[WorkEstimate]:
        """The tables among the subsets, where there are any."""
        kind, options, layers = SIMILARITIES[self.options.metric], self.options, self.features.layers
        if not (kind.can_repeat_on_subsets() and options.repeats):
            return []
        subsets = draw_subsets(len(self.rows), k=options.rule, repeats=options.repeats, seed=options.seed)
        if not subsets:
            return []
        is_cached, sizes = cache.load_subsets(subsets) is not None, [subset.size for subset in subsets]
        what, count = f"tables of {self.features.key} on random subsets", len(subsets) * len(layers)
        if is_cached:
            return [WorkEstimate(what, max(sizes), 0, 0, self.memory, 0.0)]
        disk = sum(table_bytes(len(layers), subset.size, subset.k) for subset in subsets)
        return [WorkEstimate(what, max(sizes), count, disk, self.memory, self._seconds(layers, sizes, k))]

    def _seconds(self, layers: Sequence[str], sizes: Iterable[int], k: int) -> float:
        """Of searches of these layers among so many rows each, by searches among two numbers of rows of one layer: a
        part of the time grows with the square of the rows, products, the rest with their number, as candidates do;
        both with the width. On a processor searches, or parts of one, run on all cores."""
        few = min(max(PROBED, FEWEST_A_NEIGHBOUR * (k + 1)), len(self.rows) // 2)
        columns = [self.features.manifest.column(layer) for layer in layers]
        some = np.asarray(Rows(self.features, layers[0], self.rows[: 2 * few])[:])
        with one_thread():
            once, twice = (_search_seconds(some[:count], k, self.device) for count in (few, 2 * few))
        square = max((twice - 2 * once) / (2 * few**2), twice / (4 * few) ** 2)  # never less than a quarter of the time
        line = max(twice / (2 * few) - square * 2 * few, 0.0)
        of_layer = sum(square * size**2 + line * size for size in sizes)
        return (
            of_layer
            * sum(column.width for column in columns)
            / columns[0].width
            / (cores() if self.device == "cpu" else 1)
        )


def _search_seconds(some: np.ndarray, k: int, device: str) -> float:
    """Of a search, the faster of two: the first of a process begins slowly."""
    taken = []
    for _ in range(2):
        began = time.perf_counter()
        neighbours(some, k=min(k, len(some) - 1), device=device)
        taken.append(time.perf_counter() - began)
    return min(taken)


def _of_test(
    sets: tuple[FeatureSet, FeatureSet], ranked: RankedPairs, options: RankingOptions, memory: int
) -> WorkEstimate:
    """The permutation test of two feature sets, timed by a few permutations of tables that neighbours are drawn for at
    random; not timed for metrics that read rows."""
    kind, rows = SIMILARITIES[options.metric], len(ranked.rows)
    drawn, seconds = ranked.exchange.drawn(options.permutations), None
    if kind.needs_neighbours and not kind.needs_rows:
        random, k, few = np.random.default_rng(0), k_of(options.rule, rows), min(PROBED, rows)
        vision, text = (_drawn_tables(random, len(features.layers), few, k) for features in sets)
        orders = [random.permutation(few) for _ in range(2 * PERMUTED)]
        scores = kind(ComparedLayers(tables=(vision, text))).permuted_scores
        once, twice = (_test_seconds(scores, orders[:count]) for count in (PERMUTED, 2 * PERMUTED))
        seconds = max(twice - once, twice / 4) / PERMUTED * drawn * rows / few
    what = f"permutation test of {sets[0].key} and {sets[1].key}"
    return WorkEstimate(what, rows, drawn, 0, memory, seconds)


def _test_seconds(
    scores: Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]], orders: Sequence[np.ndarray]
) -> float:
    began = time.perf_counter()
    for _ in scores(orders):
        pass
    return time.perf_counter() - began


def _drawn_tables(random: np.random.Generator, layers: int, rows: int, k: int) -> np.ndarray:
    """(layers, rows, k) int32: random neighbours, of which each layer keeps the share `KEPT`, as networks do."""
    drawn = random.integers(0, rows, (layers, rows, k), dtype=np.int32)
    is_kept = random.random(drawn.shape) < KEPT
    for before, own, kept in zip(drawn, drawn[1:], is_kept[1:], strict=False):
        own[kept] = before[kept]
    return drawn
