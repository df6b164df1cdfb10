"""The learning-rate range test (Smith, arXiv 1506.01186) in the form the published runs used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SAMPLES = 5000
"""The test sees at most this many pairs."""

LOW, HIGH, ITERATIONS = 1e-7, 10.0, 100
SMOOTHING = 0.05
STOP = 5.0
DIVISOR, FALL_BACK = 5.0, 1e-3


@dataclass(frozen=True)
class RateCurve:
    """What the test saw: `rates`, smoothed `losses`, the `chosen` rate, and `note` where no slope could be read."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    chosen: float
    note: str = ""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> RateCurve:
        """From its fields as JSON keeps them."""
        return cls(tuple(body["rates"]), tuple(body["losses"]), body["chosen"], body["note"])


def find_rate(step: Callable[[float], float], *, least: float) -> RateCurve:
    """Run `step(rate)` (one update at that rate; returns the loss before it) over 100 rates from 1e-7 to 10.

    Losses are smoothed, new = 0.05 loss + 0.95 old; the test stops beyond 5 times the best, or where a loss is not
    finite. The rate of the steepest d loss / d log10 rate before the minimum, divided by 5, is chosen, at least `least`
    (published: 1e-6); 1e-3 where the loss never fell. The caller restores the weights.
    """
    rates: list[float] = []
    losses: list[float] = []
    best = math.inf
    for index in range(ITERATIONS):
        rate = LOW * (HIGH / LOW) ** (index / (ITERATIONS - 1))
        loss = step(rate)
        if not math.isfinite(loss):
            break
        smoothed = loss if not losses else SMOOTHING * loss + (1 - SMOOTHING) * losses[-1]
        rates.append(rate)
        losses.append(smoothed)
        best = min(best, smoothed)
        if smoothed > STOP * best:
            break
    return choose_rate(rates, losses, least=least)


def choose_rate(rates: list[float], losses: list[float], *, least: float) -> RateCurve:
    """Read the rate off a curve (see `find_rate`); slopes are central differences inside, one-sided at the ends."""
    kept = (tuple(rates), tuple(losses))
    bottom = min(range(len(losses)), key=losses.__getitem__) if losses else 0
    if bottom < 1:
        return RateCurve(*kept, FALL_BACK, f"the loss never fell: {FALL_BACK} is used")
    tens = [math.log10(rate) for rate in rates]

    def slope(at: int) -> float:
        low, high = max(at - 1, 0), min(at + 1, len(losses) - 1)
        return (losses[high] - losses[low]) / (tens[high] - tens[low])

    steepest = min(range(bottom), key=slope)
    if slope(steepest) >= 0:
        return RateCurve(*kept, FALL_BACK, f"the loss never fell: {FALL_BACK} is used")
    found = rates[steepest] / DIVISOR
    return RateCurve(*kept, max(found, least), f"the test found {found:.3g}, below the least" if found < least else "")
