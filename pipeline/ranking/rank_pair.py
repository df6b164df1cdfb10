"""A ranking of two feature sets: from the samples that both have read to scores, their permutation test, and the
choice.

Everything costly is cached in the store under what it came from, so another k, another metric of the same tables, or
another partner only costs what is new.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from structure.pipeline.charts import Draw, draw_here
from structure.pipeline.pairing.pairs import PairedRows
from structure.pipeline.progress import Note, Progress
from structure.pipeline.ranking.compute_settings import ComputeSettings
from structure.pipeline.ranking.distinct_pairs import ranked_pairs
from structure.pipeline.ranking.options import RankingOptions
from structure.pipeline.ranking.ranked_side import RankedSide
from structure.pipeline.similarity.best_pair import best_pair
from structure.pipeline.similarity.k_rules import k_of
from structure.pipeline.similarity.layer_similarity import LayerSimilarity, ranking_id
from structure.pipeline.similarity.metric import ComparedLayers, SimilarityMetric
from structure.pipeline.similarity.permutation_test import RankedScores, permutation_test
from structure.pipeline.similarity.registry import SIMILARITIES
from structure.pipeline.similarity.stability import Stability, draw_subsets, stability
from structure.store import FeatureSet, Store

Sides = tuple[RankedSide, RankedSide]


@dataclass(frozen=True)
class RankedPair:
    """A ranking that is not saved yet; `curve` (k, Lv, Lt) holds the mutual kNN at every k up to the ranking's."""

    similarity: LayerSimilarity
    ranked: RankedScores
    curve: np.ndarray | None

    def files(self, draw: Draw = draw_here) -> dict[str, bytes]:
        """What is saved beside its document, with charts as `draw` makes them."""
        return self.similarity.files(self.ranked, self.curve, draw)


def rank_pair(
    store: Store, vision: FeatureSet, text: FeatureSet, options: RankingOptions, running: ComputeSettings
) -> RankedPair:
    """Score all layer pairs of two feature sets and choose one; caches neighbour tables, writes no ranking yet.

    One row a sample (its first caption); samples whose image or text repeats an earlier one are ranked once. Raises
    StructureError for too few rows or layers that are all constant.
    """
    began = time.perf_counter()
    ranked_rows = ranked_pairs(store, vision, text, options)
    pairs, exchange, permutations = ranked_rows.rows, ranked_rows.exchange, options.permutations
    if pairs.withdrawn:
        running.on_event(Note(pairs.left_out()))
    k = k_of(options.rule, len(pairs))
    if duplicates := ranked_rows.duplicates:
        running.on_event(Note(f"{duplicates:,} samples repeat the image or the text of another and are ranked once"))
    sides = (
        RankedSide(store, vision, pairs.vision, options.clamp, running),
        RankedSide(store, text, pairs.text, options.clamp, running),
    )
    metric, constant = _metric(options, sides, k)
    curve = metric.mutual_knn_curve()
    ranked = permutation_test(
        metric,
        constant=constant,
        draws=permutations,
        seed=options.seed,
        exchange=exchange,
        on_draw=lambda done: running.on_event(Progress("null", done, exchange.drawn(permutations), "permutations")),
    )
    if note := exchange.note(permutations):
        running.on_event(Note(note))
    document = {
        "metric": options.metric,
        "preset": options.preset,
        "k": k,
        "rows": len(pairs),
        "folded": duplicates,
        "skipped": pairs.skipped,
        "seed": options.seed,
        **_features(vision, text),
        "chance": metric.chance(),
        "permutations": exchange.to_dict(permutations),
        **_scores(sides, ranked),
    }
    document |= best_pair(metric, document, ranked, curve, _stability(options, sides, pairs, ranked))
    document["seconds"] = time.perf_counter() - began
    folder = store.folder("rankings", ranking_id(vision, text, metric=options.metric))
    return RankedPair(LayerSimilarity(document, folder), ranked, curve)


def _metric(options: RankingOptions, sides: Sides, k: int) -> tuple[SimilarityMetric, tuple[np.ndarray, np.ndarray]]:
    """The metric with what it needs of both sides, and which layers of each side are constant."""
    kind = SIMILARITIES[options.metric]
    tables = None
    if kind.needs_neighbours:
        ours, theirs = (side.neighbours(k) for side in sides)
        tables = np.stack([own.table for own in ours]), np.stack([own.table for own in theirs])
        constant = np.array([own.constant for own in ours]), np.array([own.constant for own in theirs])
    else:
        constant = sides[0].constant(), sides[1].constant()
    vision, text = (list(side.sources.values()) if kind.needs_rows else [] for side in sides)
    return kind(ComparedLayers(vision, text, tables, sides[0].running.memory)), constant


def _stability(options: RankingOptions, sides: Sides, pairs: PairedRows, ranked: RankedScores) -> list[Stability]:
    """The choice repeated on random subsets, where neighbour tables alone give the score."""
    kind = SIMILARITIES[options.metric]
    if not (kind.can_repeat_on_subsets() and options.repeats):
        return []
    subsets = draw_subsets(len(pairs), k=options.rule, repeats=options.repeats, seed=options.seed)
    vision, text = (side.subset_tables(subsets) for side in sides)
    return stability(kind, subsets, vision, text, reference=ranked.best)


def _features(vision: FeatureSet, text: FeatureSet) -> dict[str, Any]:
    """Which features were ranked."""
    sides = {
        side: {
            "model": features.manifest.encoder,
            "fingerprint": features.fingerprint,
            "layers": list(features.layers),
        }
        for side, features in (("vision", vision), ("text", text))
    }
    return {"dataset": vision.manifest.dataset, "split": vision.manifest.split, **sides}


def _scores(sides: Sides, ranked: RankedScores) -> dict[str, Any]:
    """The whole matrix, and the names of the constant layers."""
    return {
        # A metric can be undefined for a constant layer; JSON has no NaN.
        "scores": [[None if np.isnan(score) else float(score) for score in row] for row in ranked.scores],
        "constant": {
            name: [layer for layer, is_constant in zip(side.layers, flags, strict=True) if is_constant]
            for name, side, flags in zip(("vision", "text"), sides, ranked.constant, strict=True)
        },
    }
