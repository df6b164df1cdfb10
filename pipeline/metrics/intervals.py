"""How sure a number is: 95 % intervals by resampling what was sampled, and paired differences of two runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from structure.pipeline.metrics.resamples import resamples
from structure.pipeline.metrics.sampling import Bounds, Sampling, clipped, t_quantile
from structure.pipeline.metrics.weighted_median import weighted_median
from structure.store.errors import StructureError

REPLICATES = 2000
ROUNDING = 1e-12
"""Sums of the same numbers in another order differ by less."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; `n` is the number of resampled units (samples, images, classes or seeds).

    One unit says nothing about its spread: `low` and `high` are NaN then.
    """

    value: float
    low: float
    high: float
    n: int

    @property
    def has_no_width(self) -> bool:
        """Whether no resample gave another value."""
        return self.high - self.low <= ROUNDING


def holds_zero(low: float, high: float) -> bool:
    """Whether an interval of a difference tells nothing apart; so does one that is not there (NaN)."""
    return not (low > 0 or high < 0)


def is_significant(low: float, high: float, *, of_test: bool = True) -> bool:
    """Whether a difference with this 95 % interval is called statistically significant, in every table and page: the
    interval excludes zero, and is `of_test`, so that it holds the sampling error of the test. One over seeds alone says
    nothing about other samples."""
    return of_test and not holds_zero(low, high)


def signed(value: float, low: float, high: float) -> str:
    """A difference with its interval as text: `+0.020 [+0.001, +0.039]`. A bound that is not zero is not written as
    zero: it has as many digits as tell it from that, up to six."""
    digits = next((n for n in range(3, 6) if all(round(bound, n) or not bound for bound in (low, high))), 6)
    bounds = [f"{bound:+.{3 if round(bound, 3) else digits}f}" for bound in (low, high)]
    return f"{value:+.3f} [{', '.join(bounds)}]"


def mean_interval(
    values: np.ndarray, *, clusters: np.ndarray | None = None, seed: int = 0, replicates: int = REPLICATES
) -> Interval:
    """Mean of `(n,)` per-sample values with the percentile bootstrap over samples (Efron 1979).

    `clusters` (n,) int says which samples stand or fall together (the captions of one image): whole clusters are
    resampled, and the mean is over the samples drawn. For a mean recall over classes give the recalls of the classes
    that occur. NaN values are refused. If all values are equal the interval has no width: a percentile bootstrap
    cannot see what the sample does not contain.

    Resampling n units with replacement is one multinomial draw over their distinct values, so 0/1 hits cost the same
    for a hundred samples and for a million. The draw depends on `seed` and the values, not on their order.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise StructureError(f"An interval needs at least one value a sample, got shape {values.shape}.")
    if np.isnan(values).any():
        raise StructureError(f"{int(np.isnan(values).sum())} of {len(values)} values are NaN: they have no mean.")
    sums, sizes = values, np.ones(len(values))
    if clusters is not None:
        _, member = np.unique(np.asarray(clusters), return_inverse=True)
        sums, sizes = np.bincount(member, weights=values), np.bincount(member).astype(np.float64)
    value = float(values.mean())
    if len(sums) == 1:
        return Interval(value, math.nan, math.nan, 1)
    kinds, counts = _kinds(sums, sizes)

    def means(taken: np.ndarray) -> np.ndarray:
        total = taken @ kinds
        return np.asarray(total[:, 0] / total[:, 1])

    drawn = _resampled(means, counts, seed=seed, replicates=replicates)
    return Interval(value, *_bounds(drawn), len(sums))


def statistic_interval(
    statistic: Callable[[np.ndarray], np.ndarray], *, n: int, seed: int = 0, replicates: int = REPLICATES
) -> Interval:
    """Percentile bootstrap of a statistic that is no mean (mAP, mIoU).

    `statistic(counts)` gets `(replicate, n)` float64, how often each sample was drawn, and returns `(replicate,)`; the
    value itself is the statistic of one each. Replicates in which it is NaN are left out (all of them: NaN bounds).
    """
    value = float(statistic(np.ones((1, n)))[0])
    if n == 1:
        return Interval(value, math.nan, math.nan, 1)
    drawn = _resampled(statistic, np.ones(n, dtype=np.int64), seed=seed, replicates=replicates)
    return Interval(value, *_bounds(drawn[~np.isnan(drawn)]), n)


def median_interval(
    values: np.ndarray, *, clusters: np.ndarray | None = None, seed: int = 0, replicates: int = REPLICATES
) -> Interval:
    """Median of `(n,)` values (the lower one of an even number) with its percentile bootstrap; clusters as above."""
    member = np.arange(len(values)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    return statistic_interval(
        weighted_median(values, member), n=int(member.max()) + 1, seed=seed, replicates=replicates
    )


def paired_interval(
    first: np.ndarray,
    second: np.ndarray,
    *,
    clusters: np.ndarray | None = None,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Interval:
    """Mean of `first - second` over the same samples in the same order, with its bootstrap interval.

    Pairing removes what both runs find easy or hard, so it tells two aligners apart where their own intervals overlap.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape:
        raise StructureError(
            f"{one.shape} and {other.shape} values cannot be paired: both runs must judge the same samples. "
            "Evaluate both on the same dataset and split."
        )
    return mean_interval(one - other, clusters=clusters, seed=seed, replicates=replicates)


def seeds_interval(
    first: np.ndarray,
    second: np.ndarray | None = None,
    *,
    sampling: Sampling | None = None,
    bounds: Bounds = (-math.inf, math.inf),
) -> Interval:
    """Mean over training seeds of a number, or of the differences `first - second` of two runs with the same seeds.

    Student's t with n - 1 degrees of freedom: mean +- t(.975, n-1) s / sqrt(n). Not a bootstrap, which for the usual
    five seeds gives intervals that are much too short. With `sampling` the error of the test that all seeds were
    measured on is added: the two variances, with Satterthwaite's degrees of freedom. Of one seed the interval holds the
    error of the test alone, and is NaN without `sampling`. The interval is cut to `bounds`.
    """
    values = np.asarray(first, dtype=np.float64)
    if second is not None:
        other = np.asarray(second, dtype=np.float64)
        if values.shape != other.shape:
            raise StructureError(
                f"{len(values)} and {len(other)} seeds cannot be paired: train both with the same seeds."
            )
        values = values - other
    if values.ndim != 1 or not len(values):
        raise StructureError(f"An interval over seeds needs one number a seed, got shape {values.shape}.")
    mean, n = float(values.mean()), len(values)
    if n == 1:
        alone = (math.nan, math.nan) if sampling is None else sampling.interval(mean, bounds)
        return Interval(mean, *alone, 1)
    variance = of_seeds = float(values.var(ddof=1)) / n
    centre, freedom = mean, n - 1.0
    if sampling is not None and sampling.variance:
        variance, centre = of_seeds + sampling.variance, sampling.centre
        freedom = variance**2 / (of_seeds**2 / (n - 1) + sampling.variance**2 / sampling.freedom)
    half = t_quantile(freedom) * math.sqrt(variance)
    return Interval(mean, *clipped(centre - half, centre + half, mean, bounds), n)


def resampled_variance(
    statistic: Callable[[np.ndarray], np.ndarray], *, n: int, seed: int = 0, replicates: int = 200
) -> float:
    """Bootstrap variance of a statistic as `statistic_interval` takes it; NaN where it never has a value."""
    drawn = _resampled(statistic, np.ones(n, dtype=np.int64), seed=seed, replicates=replicates)
    known = drawn[~np.isnan(drawn)]
    return float(known.var()) if len(known) else math.nan


def multiplicity(intervals: Iterable[tuple[float, float]]) -> str:
    """What a reader must know of several 95 % intervals of differences at once, as one sentence or two."""
    known = [(low, high) for low, high in intervals if math.isfinite(low)]
    clear = sum(not holds_zero(*each) for each in known)
    by_chance = f"{len(known) / 20:.0f}" if len(known) >= 20 else f"{len(known) / 20:g}"
    return (
        f"{clear} of {len(known)} interval{'' if len(known) == 1 else 's'} exclude zero. Each is a 95 % interval by "
        f"itself: were there no difference anywhere, about {by_chance} would exclude it too."
    )


def _kinds(sums: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(kinds, 2) the different pairs of a sum and a size, sorted, and (kinds,) how many units have them."""
    if (sizes == sizes[0]).all():  # sorting numbers is many times faster than sorting pairs
        values, counts = np.unique(sums, return_counts=True)
        return np.stack([values, np.full(len(values), sizes[0])], axis=1), counts
    return np.unique(np.stack([sums, sizes], axis=1), axis=0, return_counts=True)


def _resampled(
    statistic: Callable[[np.ndarray], np.ndarray], counts: np.ndarray, *, seed: int, replicates: int
) -> np.ndarray:
    """The statistic of `replicates` resamples of `counts.sum()` units that come in `len(counts)` kinds."""
    return np.concatenate([statistic(drawn) for drawn in resamples(counts, seed=seed, replicates=replicates)])


def _bounds(drawn: np.ndarray) -> tuple[float, float]:
    if not len(drawn):
        return math.nan, math.nan
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)
