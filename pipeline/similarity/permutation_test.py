"""The permutation test of the best score, and bootstrap intervals over rows.

The maximum of Lv x Lt scores is high even for unrelated spaces. The null distribution permutes which text row belongs
to which vision row, the same way in every layer, and takes the maximum over all pairs each time; neighbour tables are
relabelled, so no feature is touched. Rows in groups are exchanged as `Exchangeability` allows. Scheme: the
`calibrated-similarity` package's permutation null with the maximum as aggregate; p-value: Phipson and Smyth,
"Permutation p-values should never be zero", 2010, eq. 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from structure.pipeline.similarity.exchangeability import Exchangeability
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
class PermutationNull:
    """`largest` (draws,) float64: the largest score over all pairs in each permutation; `threshold` its 0.95 quantile.

    `adjusted` (Lv, Lt) is the null-adjusted score, max(0, (score - threshold) / (1 - threshold)): 0 is what chance
    reaches in 1 of 20 rankings, 1 is identity. `p_values` (Lv, Lt) = (1 + #{largest >= score}) / (1 + draws), corrected
    for having looked at all pairs.
    """

    largest: np.ndarray
    threshold: float
    adjusted: np.ndarray
    p_values: np.ndarray


@dataclass(frozen=True)
class RankedScores:
    """Scores of all layer pairs, their permutation test, and the best two; pairs are (vision layer, text layer).

    `scores` (Lv, Lt) float64; `constant` (Lv,) and (Lt,) bool; `informative` (Lv, Lt) bool is False where a layer is
    constant or the score undefined: those pairs are neither in the null nor eligible, and have a null-adjusted score of
    0 with p = 1. `exchange` says what the test exchanges; `null` is None where no permutation was drawn. `interval` is
    the best pair's, `margin` the best's lead over the runner-up, both by bootstrap over rows (or groups of them) with
    the neighbours as they are; None where the score is no mean over rows, or all rows are one group.
    """

    rows: int
    scores: np.ndarray
    constant: tuple[np.ndarray, np.ndarray]
    informative: np.ndarray
    exchange: Exchangeability
    null: PermutationNull | None
    best: Pair
    runner_up: Pair | None
    interval: ScoreInterval | None
    margin: ScoreInterval | None


def permutation_test(
    metric: SimilarityMetric,
    *,
    constant: tuple[np.ndarray, np.ndarray],
    draws: int = 200,
    seed: int = 0,
    exchange: Exchangeability | None = None,
    on_draw: Callable[[int], None] = lambda done: None,
) -> RankedScores:
    """Scores of all pairs, tested with `draws` permutations (0: no test), or all that `exchange` allows.

    `constant` are (Lv,) and (Lt,) bool: layers whose rows are all equal. `exchange` says which rows may take each
    other's place, any by default; its groups are what intervals resample. `on_draw` is told how many permutations are
    done. Raises StructureError where every layer of a side is constant.
    """
    exchange = exchange or Exchangeability(metric.rows)
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
    order = np.argsort(np.where(informative, -scores, np.inf).ravel(), kind="stable")[: informative.sum()]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order[:2], scores.shape), strict=True)]
    row_values = [values for pair in pairs if (values := metric.per_row(*pair)) is not None and exchange.units > 1]
    resampled = partial(bootstrap, groups=exchange.groups, seed=seed)
    null = None
    if draws:
        permutations = exchange.permutations(draws, seed=seed)
        largest = largest_permuted(metric, informative, permutations, on_draw=on_draw)
        null = null_of(largest, scores, informative)
    return RankedScores(
        rows=metric.rows,
        scores=scores,
        constant=constant,
        informative=informative,
        exchange=exchange,
        null=null,
        best=pairs[0],
        runner_up=pairs[1] if len(pairs) > 1 else None,
        interval=resampled(row_values[0]) if row_values else None,
        margin=resampled(row_values[0] - row_values[1]) if len(row_values) > 1 else None,
    )


def largest_permuted(
    metric: SimilarityMetric,
    informative: np.ndarray,
    permutations: Iterable[np.ndarray],
    *,
    on_draw: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """`(permutations,)` float64: the largest score over the informative pairs when text rows are shuffled.

    One permutation s for all layers: text row n becomes row s(n), and its neighbours are renamed by s too.
    """
    largest = []
    for scores in metric.permuted_scores(permutations):
        largest.append(np.nanmax(scores[informative]))
        on_draw(len(largest))
    return np.array(largest)


def null_of(largest: np.ndarray, scores: np.ndarray, informative: np.ndarray) -> PermutationNull:
    """Threshold, null-adjusted scores and p-values from the largest scores of the permutations."""
    threshold = float(np.quantile(largest, 0.95))
    reached = len(largest) - np.searchsorted(np.sort(largest), scores, side="left")
    adjusted = np.maximum(0.0, (scores - threshold) / max(1.0 - threshold, 1e-12))
    return PermutationNull(
        largest,
        threshold,
        np.where(informative, adjusted, 0.0),
        np.where(informative, (1.0 + reached) / (1.0 + len(largest)), 1.0),
    )


def bootstrap(
    values: np.ndarray, *, groups: np.ndarray | None = None, draws: int = 2000, seed: int = 0
) -> ScoreInterval:
    """Mean of `(rows,)` per-row values and its 95 % percentile interval when rows are drawn with replacement.

    With `groups` (rows,) int64, counted from 0, whole groups are drawn, and the mean is over the rows drawn. Values
    repeat (counts out of k), so resampling rows is drawing how often each distinct value occurs: one multinomial a
    draw.
    """
    random = np.random.default_rng(seed)
    if groups is None:
        distinct, times = np.unique(values, return_counts=True)
        means = random.multinomial(len(values), times / len(values), size=draws) @ distinct / len(values)
    else:
        of_groups = np.stack([np.bincount(groups, weights=values), np.bincount(groups)], axis=1)
        kinds, times = np.unique(of_groups, axis=0, return_counts=True)
        sums, rows = (random.multinomial(len(of_groups), times / len(of_groups), size=draws) @ kinds).T
        means = sums / rows
    low, high = np.quantile(means, [0.025, 0.975])
    return ScoreInterval(float(np.mean(values)), float(low), float(high))
