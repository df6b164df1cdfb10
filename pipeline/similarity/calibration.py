"""What chance would have given: a permutation null of the best score, intervals over rows, and how stable the choice
is.

The maximum of Lv x Lt scores is high even for unrelated spaces. The null permutes which text row belongs to which
vision row, the same way in every layer, and keeps the maximum over all pairs each time; neighbour tables are
relabelled, so no feature is touched. Scheme: the `calibrated-similarity` package's permutation null with the maximum
as aggregate; p-value: Phipson and Smyth, "Permutation p-values should never be zero", 2010, eq. 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from structure.pipeline.similarity.neighbours import MEMORY, Neighbours, search
from structure.pipeline.similarity.overlap import shared_counts, shared_totals, stacked
from structure.pipeline.similarity.rows import RowSource
from structure.pipeline.similarity.rules import k_of
from structure.pipeline.similarity.score import same_rows
from structure.store.errors import StructureError

Pair = tuple[int, int]


@dataclass(frozen=True)
class Interval:
    """A score and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """Scores of all layer pairs against chance. Pairs are (vision layer, text layer), 0-based.

    `scores`, `calibrated`, `p_values` are (Lv, Lt) float64; `informative` (Lv, Lt) bool is False where a layer is
    constant: those pairs are neither in the null nor eligible, and are calibrated to 0 with p = 1. `null` (draws,)
    float64: the largest score of each permutation; `threshold` its 0.95 quantile. `calibrated` = max(0, (score -
    threshold) / (1 - threshold)): 0 is what chance reaches in 1 of 20 rankings, 1 is identity. `p_values` = (1 +
    #{null >= score}) / (1 + draws), corrected for having looked at all pairs. `interval` is the best pair's, `margin`
    the best's lead over the runner-up, both by bootstrap over rows.
    """

    k: int
    rows: int
    scores: np.ndarray
    informative: np.ndarray
    null: np.ndarray
    threshold: float
    calibrated: np.ndarray
    p_values: np.ndarray
    best: Pair
    runner_up: Pair | None
    interval: Interval
    margin: Interval | None


def calibrate(
    vision: Sequence[Neighbours], text: Sequence[Neighbours], *, k: int | None = None, draws: int = 200, seed: int = 0
) -> Calibration:
    """Mutual kNN of all pairs at `k` (default: as deep as the tables), with `draws` permutations as null.

    Cost of a permutation: reading each table once; 13 x 13 layers of 5,000 rows take tens of milliseconds.
    Raises StructureError where rows differ, k exceeds a table, or every layer of a side is constant.
    """
    k = k if k is not None else min(table.k for table in (*vision, *text))
    v, t = stacked([layer.table for layer in vision], [layer.table for layer in text], k)
    rows = v.shape[1]
    live = [np.flatnonzero([not layer.constant for layer in side]) for side in (vision, text)]
    for name, side in zip(("vision", "text"), live, strict=True):
        if not len(side):
            raise StructureError(
                f"Every {name} layer is constant (all rows equal), so no neighbour means anything. Extract "
                "deeper layers, or pool with --pool mean."
            )
    scores = shared_totals(v, t) / float(rows * k)
    informative = np.zeros(scores.shape, bool)
    informative[np.ix_(*live)] = True
    null = permutation_null(v[live[0]], t[live[1]], draws=draws, seed=seed)
    threshold = float(np.quantile(null, 0.95)) if draws else 0.0
    calibrated = np.where(informative, np.maximum(0.0, (scores - threshold) / max(1.0 - threshold, 1e-12)), 0.0)
    reached = len(null) - np.searchsorted(np.sort(null), scores, side="left")
    ranked = np.argsort(np.where(informative, -scores, np.inf).ravel(), kind="stable")[: informative.sum()]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(ranked[:2], scores.shape), strict=True)]
    counts = [shared_counts(v[i], t[j]) for i, j in pairs]
    return Calibration(
        k=k,
        rows=rows,
        scores=scores,
        informative=informative,
        null=null,
        threshold=threshold,
        calibrated=calibrated,
        p_values=np.where(informative, (1.0 + reached) / (1.0 + draws), 1.0),
        best=pairs[0],
        runner_up=pairs[1] if len(pairs) > 1 else None,
        interval=bootstrap(counts[0] / k, seed=seed),
        margin=bootstrap((counts[0] - counts[1]) / k, seed=seed) if len(pairs) > 1 else None,
    )


def permutation_null(v: np.ndarray, t: np.ndarray, *, draws: int, seed: int) -> np.ndarray:
    """`(draws,)` float64: the largest mutual kNN over all pairs of `(layers, rows, k)` tables when text rows are
    shuffled.

    One permutation s for all layers: text row n becomes row s(n), and its neighbours are renamed by s too.
    """
    rows, k = t.shape[1:]
    random = np.random.default_rng(seed)
    best = np.empty(draws)
    moved = np.empty_like(t)
    for draw in range(draws):
        order = random.permutation(rows).astype(t.dtype)
        moved[:, order] = order[t]
        best[draw] = shared_totals(v, moved).max() / float(rows * k)
    return best


def bootstrap(values: np.ndarray, *, draws: int = 2000, seed: int = 0) -> Interval:
    """Mean of `(rows,)` per-row values and its 95 % percentile interval when rows are drawn with replacement.

    Values repeat (counts out of k), so resampling rows is drawing how often each distinct value occurs: one
    multinomial a draw.
    """
    distinct, times = np.unique(values, return_counts=True)
    rows = len(values)
    drawn = np.random.default_rng(seed).multinomial(rows, times / rows, size=draws) @ distinct / rows
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(np.mean(values)), float(low), float(high))


@dataclass(frozen=True)
class Stability:
    """Which pair wins on subsets of `size` rows: `chosen` one pair a repeat, `score` that pair's score.

    `agreement` is the share of repeats that choose the reference pair; `reference_score` (repeats,) is that pair's
    score there.
    """

    size: int
    k: int
    chosen: tuple[Pair, ...]
    score: tuple[float, ...]
    reference_score: tuple[float, ...]
    agreement: float


def stability(
    vision_layers: Sequence[RowSource],
    text_layers: Sequence[RowSource],
    *,
    reference: Pair,
    k: int | str = "rice",
    sizes: Sequence[int] = (100, 500, 1000, 5000),
    repeats: int = 5,
    seed: int = 0,
    memory: int = MEMORY,
) -> list[Stability]:
    """The choice repeated on random subsets of rows; neighbours among the subset are computed afresh, exactly.

    `reference` is the pair chosen on all rows. Sizes beyond the rows there are, or too small for k, are left out of the
    answer; a subset of all rows is taken once. `k` is a number or a rule, applied to each size.
    """
    rows = same_rows(vision_layers, text_layers)
    random = np.random.default_rng(seed)
    found = []
    for size in sorted({size for size in sizes if size <= rows}):
        depth = k_of(k, size) if isinstance(k, str) else k
        if size < depth + 1:
            continue
        subsets = [np.sort(random.choice(rows, size, replace=False)) for _ in range(repeats if size < rows else 1)]
        rankings = [
            [search(part, k=depth, memory=memory, name=f"{side} {number}") for part in _subsets(layer, subsets)]
            for side, layers in (("vision", vision_layers), ("text", text_layers))
            for number, layer in enumerate(layers)
        ]
        chosen, score, known = [], [], []
        for repeat in range(len(subsets)):
            tables = [ranking[repeat] for ranking in rankings]
            v, t = stacked(
                [layer.table for layer in tables[: len(vision_layers)]],
                [layer.table for layer in tables[len(vision_layers) :]],
                depth,
            )
            scores = shared_totals(v, t) / float(size * depth)
            dull = np.array([layer.constant for layer in tables])
            eligible = np.where(dull[: len(v), None] | dull[None, len(v) :], -1.0, scores)
            best = np.unravel_index(eligible.argmax(), eligible.shape)
            chosen.append((int(best[0]), int(best[1])))
            score.append(float(scores[best]))
            known.append(float(scores[reference]))
        agreement = sum(pair == reference for pair in chosen) / len(chosen)
        found.append(Stability(size, depth, tuple(chosen), tuple(score), tuple(known), agreement))
    return found


def _subsets(layer: RowSource, subsets: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """The rows of each ascending index array, read once from the layer in slices."""
    rows, width = (int(size) for size in layer.shape)
    parts: list[list[np.ndarray]] = [[] for _ in subsets]
    for start in range(0, rows, 4096):
        stop = min(start + 4096, rows)
        block = layer[start:stop]
        block = block.detach().to("cpu").float().numpy() if hasattr(block, "detach") else np.asarray(block)
        for part, chosen in zip(parts, subsets, strict=True):
            a, b = np.searchsorted(chosen, [start, stop])
            part.append(block[chosen[a:b] - start])
    for part in parts:
        yield np.concatenate(part).reshape(-1, width)
