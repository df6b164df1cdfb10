"""The range that the number of an option must lie in; no infinity and no NaN is in any."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """`above` and `below` are outside themselves, `least` and `most` are in; None is no bound."""

    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None

    @property
    def are_stated(self) -> bool:
        """Whether there is a bound at all."""
        return self != Bounds()

    def __contains__(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (self.above is None or value > self.above)
            and (self.least is None or value >= self.least)
            and (self.below is None or value < self.below)
            and (self.most is None or value <= self.most)
        )

    def __str__(self) -> str:
        """`above 0 and below 1`, `at least 0`."""
        words = {"above": self.above, "at least": self.least, "below": self.below, "at most": self.most}
        stated = [f"{word} {value:,.12g}" for word, value in words.items() if value is not None]
        return " and ".join(stated) or "a finite number"
