"""What chance would have given: a permutation null of the best score, and intervals over rows.

The maximum of Lv x Lt scores is high even for unrelated spaces. The null permutes which text row belongs to which
vision row, the same way in every layer, and keeps the maximum over all pairs each time; neighbour tables are
relabelled, so no feature is touched. Scheme: the `calibrated-similarity` package's permutation null with the maximum
as aggregate; p-value: Phipson and Smyth, "Permutation p-values should never be zero", 2010, eq. 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from structure.pipeline.similarity.metric import SimilarityMetric
from structure.store.errors import StructureError

Pair = tuple[int, int]


@dataclass(frozen=True)
class ScoreInterval:
    """A score and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Null:
    """`best` (draws,) float64: the largest score over all pairs in each permutation; `threshold` its 0.95 quantile.

    `calibrated` (Lv, Lt) = max(0, (score - threshold) / (1 - threshold)): 0 is what chance reaches in 1 of 20 rankings,
    1 is identity. `p_values` (Lv, Lt) = (1 + #{best >= score}) / (1 + draws), corrected for having looked at all pairs.
    """

    best: np.ndarray
    threshold: float
    calibrated: np.ndarray
    p_values: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """Scores of all layer pairs against chance. Pairs are (vision layer, text layer), 0-based.

    `scores` (Lv, Lt) float64; `informative` (Lv, Lt) bool is False where a layer is constant or the score undefined:
    those pairs are neither in the null nor eligible, and are calibrated to 0 with p = 1. `null` is None where no
    permutation was drawn. `interval` is the best pair's, `margin` the best's lead over the runner-up, both by bootstrap
    over rows with the neighbours as they are; None where the score is no mean over rows.
    """

    rows: int
    scores: np.ndarray
    informative: np.ndarray
    null: Null | None
    best: Pair
    runner_up: Pair | None
    interval: ScoreInterval | None
    margin: ScoreInterval | None


def calibrate(
    metric: SimilarityMetric,
    *,
    constant: tuple[np.ndarray, np.ndarray],
    draws: int = 200,
    seed: int = 0,
    on_draw: Callable[[int], None] = lambda done: None,
) -> Calibration:
    """Scores of all pairs, with `draws` permutations as null.

    `constant` are (Lv,) and (Lt,) bool: layers whose rows are all equal. `on_draw` is told how many permutations are
    done. Mutual kNN of 13 x 13 layers of 5,000 rows takes tens of milliseconds a permutation. Raises StructureError
    where every layer of a side is constant.
    """
    for name, side in zip(("vision", "text"), constant, strict=True):
        if side.all():
            raise StructureError(
                f"Every {name} layer is constant (all rows equal), so no neighbour means anything. Extract "
                "deeper layers, or pool with --pool mean."
            )
    scores = metric.scores()
    informative = ~(constant[0][:, None] | constant[1][None, :]) & np.isfinite(scores)
    if not informative.any():
        raise StructureError(
            "No layer pair has a score: the metric is undefined for all of them. Choose another --metric, or extract "
            "more rows."
        )
    ranked = np.argsort(np.where(informative, -scores, np.inf).ravel(), kind="stable")[: informative.sum()]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(ranked[:2], scores.shape), strict=True)]
    row_values = [metric.per_row(*pair) for pair in pairs]
    null = None
    if draws:
        best = permutation_null(metric, informative, draws=draws, seed=seed, on_draw=on_draw)
        null = against(best, scores, informative)
    return Calibration(
        rows=metric.rows,
        scores=scores,
        informative=informative,
        null=null,
        best=pairs[0],
        runner_up=pairs[1] if len(pairs) > 1 else None,
        interval=None if row_values[0] is None else bootstrap(row_values[0], seed=seed),
        margin=None if len(pairs) < 2 or row_values[0] is None else bootstrap(row_values[0] - row_values[1], seed=seed),
    )


def permutation_null(
    metric: SimilarityMetric,
    informative: np.ndarray,
    *,
    draws: int,
    seed: int,
    on_draw: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """`(draws,)` float64: the largest score over the informative pairs when text rows are shuffled.

    One permutation s for all layers: text row n becomes row s(n), and its neighbours are renamed by s too.
    """
    random = np.random.default_rng(seed)
    best = np.empty(draws)
    for draw in range(draws):
        best[draw] = np.nanmax(metric.scores(random.permutation(metric.rows))[informative])
        on_draw(draw + 1)
    return best


def against(best: np.ndarray, scores: np.ndarray, informative: np.ndarray) -> Null:
    """The scores held against the largest ones of the permutations."""
    threshold = float(np.quantile(best, 0.95))
    reached = len(best) - np.searchsorted(np.sort(best), scores, side="left")
    calibrated = np.maximum(0.0, (scores - threshold) / max(1.0 - threshold, 1e-12))
    return Null(
        best,
        threshold,
        np.where(informative, calibrated, 0.0),
        np.where(informative, (1.0 + reached) / (1.0 + len(best)), 1.0),
    )


def bootstrap(values: np.ndarray, *, draws: int = 2000, seed: int = 0) -> ScoreInterval:
    """Mean of `(rows,)` per-row values and its 95 % percentile interval when rows are drawn with replacement.

    Values repeat (counts out of k), so resampling rows is drawing how often each distinct value occurs: one
    multinomial a draw.
    """
    distinct, times = np.unique(values, return_counts=True)
    rows = len(values)
    drawn = np.random.default_rng(seed).multinomial(rows, times / rows, size=draws) @ distinct / rows
    low, high = np.quantile(drawn, [0.025, 0.975])
    return ScoreInterval(float(np.mean(values)), float(low), float(high))
