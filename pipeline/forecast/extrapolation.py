"""Where a learning curve goes: recall at other numbers of pairs than those that were measured, with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from structure.pipeline.forecast.learning_curve import FOLDS, LearningCurve

BENDS = (0.0, -0.25, 0.25)
"""Exponents c of logit(recall) = a + b g(n), g(n) = (n^c - 1) / c and log n for c = 0. Measured curves are straight in
log n (icons, emoji) or bend upwards (scenes), and recall must end somewhere: the first is the forecast, the others say
how far a curve may bend (see tests/benchmarks/forecast.py)."""

ERRORS = 2.5
"""Standard errors on each side of a curve: more than 2, since three held-out sets tell them roughly."""


@dataclass(frozen=True)
class ForecastPoint:
    """Expected recall with `pairs` training pairs, and its interval; `is_measured`: fits had that many pairs."""

    pairs: int
    value: float
    low: float
    high: float
    is_measured: bool

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "pairs": self.pairs,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "measured": self.is_measured,
        }


def extrapolate(curve: LearningCurve, pairs: Sequence[int]) -> list[ForecastPoint]:
    """Recall at these numbers of pairs: a measured one is the mean of its fits, another is on the straight curve.

    Its interval reaches over all curves of `BENDS`, each with two kinds of error, which fits to different draws show:
    that of the two numbers of the curve, and that of another draw of as many training and held-out pairs.
    """
    sizes = np.array([point.pairs for point in curve.points], dtype=np.float64)
    logits = [_logit(point.recalls, curve.gallery) for point in curve.points]
    means, fits = np.array([each.mean() for each in logits]), np.array([len(each) for each in logits])
    spread = float(np.sqrt(np.mean([each.var(ddof=1) for each in logits if len(each) > 1])))
    draw = spread / np.sqrt(FOLDS - 1)  # the folds' training pairs overlap, so that they say less than three
    found = []
    for count in pairs:
        same = np.flatnonzero(sizes == count)
        if len(same):
            (at,) = same
            centres, errors = means[[at]], np.array([draw if fits[at] > 1 else spread])
        else:
            lines = [_line(_bent(sizes, c), means, fits, float(_bent(np.float64(count), c))) for c in BENDS]
            centres, errors = np.array([centre for centre, _ in lines]), np.array([error for _, error in lines])
            errors = np.hypot(spread * errors, draw)
        low, high = (centres - ERRORS * errors).min(), (centres + ERRORS * errors).max()
        value, low, high = (float(1 / (1 + np.exp(-logit))) for logit in (centres[0], low, high))
        found.append(ForecastPoint(count, value, low, high, bool(len(same))))
    return found


def _bent(sizes: Any, c: float) -> Any:
    return np.log(sizes) if c == 0 else (sizes**c - 1) / c


def _line(x: np.ndarray, y: np.ndarray, weights: np.ndarray, at: float) -> tuple[float, float]:
    """(value at `at`, its standard error where one of the weights has error 1) of the weighted least-squares line."""
    mean = np.average(x, weights=weights)
    squares = float((weights * np.square(x - mean)).sum())
    slope = float((weights * (x - mean) * y).sum()) / squares
    value = float(np.average(y, weights=weights)) + slope * (at - mean)
    return value, float(np.sqrt(1 / weights.sum() + (at - mean) ** 2 / squares))


def _logit(recalls: np.ndarray, gallery: int) -> np.ndarray:
    """Log odds; of a recall of 0 or 1 those of half a hit or half a miss."""
    least = 1 / (4 * gallery)
    kept = np.clip(recalls, least, 1 - least)
    return np.asarray(np.log(kept / (1 - kept)))
