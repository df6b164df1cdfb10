"""The time that a selection may take, and what the next fit is expected to take of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from structure.store.errors import StructureError

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def seconds_of(text: str | float) -> float:
    """`60`, `60s`, `5m` or `1h` as seconds. Raises StructureError for what is none of these or not above 0."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(s|m|min|h|)\s*", str(text))
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not seconds > 0:
        raise StructureError(f"--budget {text!r}: write a time above 0, such as 60s, 5m or 1h.")
    return seconds


@dataclass
class Budget:
    """`seconds` from now on, by `clock`."""

    seconds: float
    clock: Callable[[], float] = time.perf_counter
    began: float = -1.0
    fits: int = 0
    _costs: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.began < 0:
            self.began = self.clock()

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return self.clock() - self.began

    def part(self, share: float) -> Budget:
        """A share of it, which begins with it and learns with it what fits take."""
        return replace(self, seconds=self.seconds * share, began=self.began)

    def affords(self, method: str, cost: float) -> bool:
        """Whether a fit of this declared cost is expected to end in time; the first one is at any rate."""
        return self.affords_all([(method, cost)])

    def affords_all(self, fits: Sequence[tuple[str, float]]) -> bool:
        """The same of several fits together: (method, declared cost) of each. A unit of cost is expected to take what
        it took so far for the same method, else for all of them."""
        if not self._costs:
            return True
        seconds = 0.0
        for method, cost in fits:
            took = [self._costs[method]] if method in self._costs else list(self._costs.values())
            seconds += cost * sum(spent for spent, _ in took) / sum(costs for _, costs in took)
        return self.spent + seconds <= self.seconds

    def took(self, method: str, cost: float, seconds: float) -> None:
        """Say what a fit took."""
        self.fits += 1
        total = self._costs.setdefault(method, [0.0, 0.0])
        total[0] += seconds
        total[1] += cost
