"""The learning-rate range test exactly as the released code of STRUCTURE runs it, for the presets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from structure.pipeline.aligners.lr_range_test import DIVISOR, FALL_BACK, HIGH, ITERATIONS, LOW, STOP, RateCurve

NEW_LOSS = 0.95
"""Share of the newest loss in the smoothed one: hardly any smoothing."""


def find_released_rate(step: Callable[[float], float]) -> RateCurve:
    """Run `step(rate)` (one update at that rate on a fresh batch; returns the loss before it) over at most 100 rates
    from 1e-7 by the factor 10^(8/100): the last is 8.32, not 10.

    It stops where a raw loss is above 5 times the least raw one, or not finite; that loss stays in the series. (The
    update of the last step moves weights that are dropped.) See `suggested_rate`.
    """
    rates: list[float] = []
    raw: list[float] = []
    rate, least = LOW, math.inf
    for _ in range(ITERATIONS):
        loss = step(rate)
        rates.append(rate)
        raw.append(loss)
        least = min(least, loss)
        if loss > STOP * least or not math.isfinite(loss):
            break
        rate *= (HIGH / LOW) ** (1 / ITERATIONS)
    return suggested_rate(rates, raw)


def suggested_rate(rates: Sequence[float], raw: Sequence[float]) -> RateCurve:
    """The rate that the released code reads off its raw losses.

    s_0 = l_0, s_i = .05 s_(i-1) + .95 l_i; the steepest fall of s over log10 rate (second-order differences) strictly
    between the first rate and that of the least s, divided by 5, at least 1e-6. One loss or none: 1e-3. A loss that is
    not a number counts as the least one and as the steepest, as NumPy's argmin has it there.
    """
    if len(raw) <= 1:
        return RateCurve(tuple(rates), tuple(raw), FALL_BACK, f"no curve: {FALL_BACK} is used")
    smoothed = [raw[0]]
    for loss in raw[1:]:
        smoothed.append((1 - NEW_LOSS) * smoothed[-1] + NEW_LOSS * loss)
    series = np.array(smoothed)
    with np.errstate(invalid="ignore"):
        slopes = np.gradient(series, np.log10(np.array(rates)))
    bottom = int(np.argmin(series))
    inside = np.arange(1, min(bottom, len(series) - 1))
    steepest = int(inside[np.argmin(slopes[inside])]) if len(inside) else max(0, bottom - 1)
    found, floor = rates[steepest] / DIVISOR, 10 * LOW
    note = f"the test found {found:.3g}, below the least" if found < floor else ""
    finite = [(one, other) for one, other in zip(rates, smoothed, strict=True) if math.isfinite(other)]
    kept_rates, losses = zip(*finite, strict=True)
    return RateCurve(tuple(kept_rates), tuple(losses), max(found, floor), note)
