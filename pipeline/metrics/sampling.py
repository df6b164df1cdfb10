"""The sampling error of a test: how far a mean over its units may be from that of all units, however few there are.

A resample cannot hold what the sample does not: where two aligners differ on one of 30 pairs, with every seed on the
same one, neither a bootstrap nor the spread over seeds sees a doubt. Pseudo-units do: of a value two at its least and
two at its greatest (Agresti and Coull 1998), of a paired difference one at the largest with either sign (after Agresti
and Min 2005). Fewer than six units that differ never exclude zero, whatever their values (2 x 2^-5 > .05 in the sign
test).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

Bounds = tuple[float, float]
"""Least and greatest value of a unit."""


FEW = 6
"""Units that differ between two aligners below which no test can be significant, whatever a bootstrap says."""

NORMAL = 1.96
"""What Student's t quantile of 97.5 % is at least."""


@dataclass(frozen=True)
class Sampling:
    """What test units say of the mean over all: it is about `centre`, with the `variance` of that estimate and
    `freedom` degrees of freedom."""

    centre: float
    variance: float
    freedom: float

    def interval(self, value: float, bounds: Bounds) -> tuple[float, float]:
        """The 95 % interval by Student's t, made to hold `value` and cut to the bounds."""
        half = t_quantile(self.freedom) * math.sqrt(self.variance)
        return clipped(self.centre - half, self.centre + half, value, bounds)


def sampling_of_values(values: np.ndarray, *, bounds: Bounds, clusters: np.ndarray | None = None) -> Sampling:
    """Of the mean of (n,) values, whole `clusters` (n,) int being units; units that are all alike may hide others
    anywhere within the bounds."""
    least, greatest = float(np.min(values)), float(np.max(values))
    ends = (least, greatest) if least < greatest else bounds
    return _sampling(values, clusters, (*ends, *ends) if all(map(math.isfinite, ends)) else ())


def sampling_of_differences(values: np.ndarray, *, clusters: np.ndarray | None = None) -> Sampling:
    """Of the mean of (n,) paired differences; without any there is no error to see."""
    largest = float(np.abs(values).max())
    found = _sampling(values, clusters, (-largest, largest))
    units = np.arange(len(values)) if clusters is None else clusters
    return few_hold_zero(found, len(np.unique(units[np.asarray(values) != 0])))


def few_hold_zero(found: Sampling, differing: int) -> Sampling:
    """With a variance that makes the interval hold zero where fewer than `FEW` units differ."""
    least = (found.centre / NORMAL) ** 2 if differing < FEW else 0.0
    return replace(found, variance=max(found.variance, least))


def _sampling(values: np.ndarray, clusters: np.ndarray | None, pseudo: tuple[float, ...]) -> Sampling:
    values = np.asarray(values, dtype=np.float64)
    sums, sizes = values, np.ones(len(values))
    if clusters is not None:
        _, member = np.unique(clusters, return_inverse=True)
        sums, sizes = np.bincount(member, weights=values), np.bincount(member).astype(np.float64)
    n = len(sums) + len(pseudo)
    centre = (len(sums) * float(values.mean()) + sum(pseudo)) / n
    squares = float((((sums - centre * sizes) / sizes.mean()) ** 2).sum()) + sum((end - centre) ** 2 for end in pseudo)
    return Sampling(centre, squares / (n * max(n - 1, 1)), max(n - 1, 1))


def sampling_of_share(value: float, count: int) -> Sampling:
    """Of a share of `count` units, whose values are not at hand."""
    n = count + 4
    centre = (count * value + 2) / n
    return Sampling(centre, centre * (1 - centre) / (n - 1), n - 1)


def t_quantile(freedom: float) -> float:
    """The 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def clipped(low: float, high: float, value: float, bounds: Bounds) -> Bounds:
    """The interval, made to hold the value and cut to the bounds."""
    return max(min(low, value), bounds[0]), min(max(high, value), bounds[1])


def of_difference(bounds: Bounds) -> Bounds:
    """The bounds of a difference of two values."""
    return bounds[0] - bounds[1], bounds[1] - bounds[0]
