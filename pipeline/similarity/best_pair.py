"""The best layer pair of a ranking: the part of its document that says which was chosen, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from structure.pipeline.similarity.metric import SimilarityMetric
from structure.pipeline.similarity.permutation_test import RankedScores
from structure.pipeline.similarity.registry import notation
from structure.pipeline.similarity.stability import Stability


def best_pair(
    metric: SimilarityMetric,
    ranking: Mapping[str, Any],
    ranked: RankedScores,
    curve: np.ndarray | None,
    stable: Sequence[Stability],
) -> dict[str, Any]:
    """Best pair, runner-up, in a sentence why, and the numbers behind it: the part that decides of a `ranking`'s
    document, which has its metric, k and layers already."""
    pairs = [pair for pair in (ranked.best, ranked.runner_up) if pair is not None]
    entries = [_pair(ranking, ranked, *pair) for pair in pairs]
    null, interval, margin = ranked.null, ranked.interval, ranked.margin
    document: dict[str, Any] = {
        "best": entries[0],
        "runner_up": entries[1] if len(entries) > 1 else None,
        "reason": reason(metric, ranking, ranked, entries, stable),
        "interval": None if interval is None else [interval.low, interval.high],
        "margin": None if margin is None else {"value": margin.value, "low": margin.low, "high": margin.high},
        "threshold": None if null is None else null.threshold,
        "null": None if null is None else null.largest.tolist(),
        "curve": None,
        "stability": [_stability(ranking, each) for each in stable],
    }
    if curve is not None:
        eligible = np.where(ranked.informative, curve, -1.0).reshape(len(curve), -1)
        winners = [_names(ranking, *divmod(int(pair), curve.shape[2])) for pair in eligible.argmax(axis=1)]
        ks = np.arange(1, len(curve) + 1)
        document["curve"] = {
            "k": ks.tolist(),
            "score": curve[:, ranked.best[0], ranked.best[1]].tolist(),
            "chance": (ks / (ranked.rows - 1)).tolist(),
            "best": winners,
        }
    return document


def reason(
    metric: SimilarityMetric,
    ranking: Mapping[str, Any],
    ranked: RankedScores,
    entries: Sequence[Mapping[str, Any]],
    stable: Sequence[Stability],
) -> str:
    """In a sentence why the pair was chosen, and how far that can be trusted."""
    best, chance, null = entries[0], metric.chance(), ranked.null
    name = notation(ranking["metric"], ranking["k"])
    text = f"{best['vision_layer']} and {best['text_layer']} have the largest {name}: {best['score']:.4f}"
    if ranked.interval is not None:
        text += f" [{ranked.interval.low:.4f}, {ranked.interval.high:.4f}]"
    text += f" over {ranked.rows:,} rows"
    if chance is not None:
        text += f", where chance gives {chance:.4f}"
    if null is not None:
        text += (
            f"; the largest of all pairs stays below {null.threshold:.4f} in 95 % of "
            f"{ranked.exchange.describe(len(null.largest))} (p = {best['p_value']:.3g})"
        )
    else:
        text += "; no permutation test was made (--calibrate N draws N permutations)"
    for other in entries[1:]:
        lead = best["score"] - other["score"]
        text += f"; next is {other['vision_layer']} with {other['text_layer']}, {lead:.4f} behind"
        if ranked.margin is not None:
            margin = ranked.margin
            text += f" [{margin.low:.4f}, {margin.high:.4f}]"
            if margin.low <= 0:
                text += ", which is not statistically significant"
    if stable:
        wins = [f"{round(each.agreement * len(each.chosen))} of {len(each.chosen)}" for each in stable]
        sizes = [f"of {each.size:,} rows" for each in stable]
        parts = [f"{win} {size}" for win, size in zip(wins, sizes, strict=True)]
        parts[0] = f"{wins[0]} random subsets {sizes[0]}"
        text += f"; the same pair wins in {', '.join(parts)}"
    return f"{text}."


def _names(ranking: Mapping[str, Any], i: int, j: int) -> list[str]:
    return [ranking["vision"]["layers"][i], ranking["text"]["layers"][j]]


def _pair(ranking: Mapping[str, Any], ranked: RankedScores, i: int, j: int) -> dict[str, Any]:
    vision, text = _names(ranking, i, j)
    null = ranked.null
    return {
        "vision_layer": vision,
        "text_layer": text,
        "score": float(ranked.scores[i, j]),
        "calibrated": None if null is None else float(null.adjusted[i, j]),
        "p_value": None if null is None else float(null.p_values[i, j]),
    }


def _stability(ranking: Mapping[str, Any], repeated: Stability) -> dict[str, Any]:
    return {
        "rows": repeated.size,
        "k": repeated.k,
        "agreement": repeated.agreement,
        "chosen": [_names(ranking, *pair) for pair in repeated.chosen],
        "score": list(repeated.score),
        "score_of_best": list(repeated.reference_score),
    }
