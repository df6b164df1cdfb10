"""One fit of a curve as it is kept, and the metrics that it has on test pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from structure.pipeline.metrics.sampling import Sampling

METRICS = ("R@1", "R@10", "mrr", "FOSCTTM")
"""Means of both directions: the share of test pairs whose partner is among the nearest k (top-k matching accuracy), the
mean reciprocal rank, and the share of the others that are closer than the partner, ties in the gallery's order."""

LOW_IS_GOOD = ("FOSCTTM",)


@dataclass(frozen=True)
class CurveFit:
    """A fit of a variant to `pairs` pairs that the seed drew. `unpaired` rows of each side; `metrics` name -> value and
    what the test pairs say of its error; `refused` says why there are none."""

    variant: str
    method: str
    pairs: int
    seed: int
    unpaired: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    refused: str = ""

    @property
    def key(self) -> tuple[str, int, int]:
        """Which fit of a curve it is."""
        return self.variant, self.pairs, self.seed

    def sampling(self, metric: str) -> Sampling:
        """What the test pairs say of the mean over all."""
        found = self.metrics[metric]
        return Sampling(found["centre"], found["variance"], found["freedom"])

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `of_dict` reads them."""
        return {**asdict(self), "unpaired": list(self.unpaired)}

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> CurveFit:
        """From `to_dict`."""
        return cls(**{**values, "unpaired": tuple(values["unpaired"])})


def chance(metric: str, pairs: int) -> float:
    """Of a random order of so many test pairs."""
    if metric == "FOSCTTM":
        return 0.5
    if metric == "mrr":
        return float((1 / np.arange(1, pairs + 1)).mean())
    return min(1.0, int(metric.partition("@")[2]) / pairs)
