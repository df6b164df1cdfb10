"""What every evaluation metric says of itself, and the two usual ways to an interval."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from structure.pipeline.metrics.answers import Answers
from structure.pipeline.metrics.intervals import (
    ROUNDING,
    Interval,
    mean_interval,
    paired_interval,
    resampled_variance,
    statistic_interval,
)
from structure.pipeline.metrics.sampling import (
    FEW,
    Bounds,
    Sampling,
    few_hold_zero,
    of_difference,
    sampling_of_differences,
    sampling_of_values,
)

AnswersT = TypeVar("AnswersT", bound=Answers)


class Metric(ABC, Generic[AnswersT]):
    """A number of one kind of task: its value with a 95 % interval, its chance level, its meaning.

    `k` is the number of a name with `@k` (`image_retrieval_recall@5`), else None. Values come from the predictions
    table alone, one row a query, so that paired differences of evaluated aligners use the same code.
    """

    task: ClassVar[str]
    """The kind of task in suites: `zeroshot_classification`, `zeroshot_retrieval`, `linear_probe`, ..."""
    notation: ClassVar[str]
    """How reports show it, with `@k` for its number: `T→I R@k`."""
    meaning: ClassVar[str]
    """One sentence for the glossary."""
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    higher_is_better: ClassVar[bool] = True
    is_default: ClassVar[bool] = False
    """Whether every evaluation of such a task has it; any other one is computed where a suite names it."""
    columns: ClassVar[tuple[str, ...]] = ()
    """The columns of the predictions table that it reads."""
    opposite: ClassVar[str] = ""
    """Of retrieval: the registered name of the same metric in the other direction."""
    needs_multilabel: ClassVar[bool] = False
    """Whether it is of samples with several classes each, instead of one."""

    def __init__(self, name: str, k: int | None = None) -> None:
        self.name, self.k = name, k

    @property
    def title(self) -> str:
        """The notation with the number: `T→I R@5`."""
        return self.notation if self.k is None else self.notation.replace("@k", f"@{self.k}")

    def is_defined(self, answers: AnswersT) -> bool:
        """Whether it has a value on these answers (top-5 accuracy has none below five classes)."""
        return True

    def chosen(self, answers: AnswersT) -> AnswersT:
        """The rows that it is of (one direction of a retrieval); all of them by default."""
        return answers

    def holds(self, answers: Answers) -> bool:
        """Whether the predictions table has its columns, so that two aligners can be paired on it."""
        return set(self.columns) <= set(answers.table.column_names)

    @abstractmethod
    def interval(self, answers: AnswersT, *, seed: int = 0) -> Interval:
        """The value with its 95 % interval; units resampled as the class says."""

    @abstractmethod
    def difference(self, first: AnswersT, second: AnswersT, *, seed: int = 0) -> Interval:
        """First minus second on the same samples in the same order, with its 95 % interval."""

    @abstractmethod
    def chance(self, answers: AnswersT) -> float | None:
        """The expected value of a random guess; None where it has no closed form."""

    def chance_of_pairs(self, count: int) -> float | None:
        """The same of `count` pairs, one caption an image; None for a metric that is not of retrieval."""
        return None

    def sampling(self, runs: Sequence[AnswersT], against: Sequence[AnswersT] = (), *, seed: int = 0) -> Sampling | None:
        """The sampling error of the test in the mean over `runs` (training seeds) on the same samples; with `against`,
        in the mean of the differences run by run. None where it is not known."""
        return None

    def range_of(self, *, difference: bool) -> Bounds:
        """Least and greatest value, of the metric or of a difference."""
        return of_difference(self.bounds) if difference else self.bounds


class SampleMean(Metric[AnswersT]):
    """A mean of one number a query (or a class): bootstrap over them, clusters of queries together."""

    @abstractmethod
    def values(self, answers: AnswersT) -> np.ndarray:
        """(n,) float64 numbers whose mean it is."""

    def resampled(self, answers: AnswersT) -> np.ndarray | None:
        """(n,) int: the values that a bootstrap draws together; None where it draws single ones."""
        return answers.resampled

    def interval(self, answers: AnswersT, *, seed: int = 0) -> Interval:
        rows = self.chosen(answers)
        found = mean_interval(self.values(rows), clusters=self.resampled(rows), seed=seed)
        return widened(found, self.sampling([answers]), self.bounds) if found.has_no_width else found

    def difference(self, first: AnswersT, second: AnswersT, *, seed: int = 0) -> Interval:
        ours, theirs = self.chosen(first), self.chosen(second)
        one, other = self.values(ours), self.values(theirs)
        clusters = self.resampled(ours)
        found = paired_interval(one, other, clusters=clusters, seed=seed)
        units = np.arange(len(one)) if clusters is None else clusters
        differing = len(np.unique(units[one != other]))
        if found.n > 1 and differing and (differing < FEW or found.has_no_width):
            return widened(found, self.sampling([first], [second]), self.range_of(difference=True))
        return found

    def sampling(self, runs: Sequence[AnswersT], against: Sequence[AnswersT] = (), *, seed: int = 0) -> Sampling | None:
        """From the values of every unit, averaged over the runs."""
        rows = [[self.chosen(one) for one in each] for each in (runs, against)]
        values = [[np.asarray(self.values(one), dtype=np.float64) for one in each] for each in rows]
        if len({len(one) for each in values for one in each}) != 1:
            return None
        mean, clusters = np.mean(values[0], axis=0), self.resampled(rows[0][0])
        if against:
            return sampling_of_differences(mean - np.mean(values[1], axis=0), clusters=clusters)
        return sampling_of_values(mean, bounds=self.bounds, clusters=clusters)


def widened(found: Interval, sampling: Sampling | None, bounds: Bounds) -> Interval:
    """The interval joined with what pseudo-units say: a bootstrap of units that hardly differ is too short."""
    if sampling is None:
        return found
    low, high = sampling.interval(found.value, bounds)
    return replace(found, low=min(low, found.low), high=max(high, found.high))


class SampleStatistic(Metric[AnswersT]):
    """A statistic that is no mean (a median, mean average precision): bootstrap over queries or their clusters."""

    @abstractmethod
    def statistic(self, answers: AnswersT) -> Callable[[np.ndarray], np.ndarray]:
        """The function (replicate, units) float64 whole counts -> (replicate,) values."""

    def interval(self, answers: AnswersT, *, seed: int = 0) -> Interval:
        statistic, n = self._resampled(self.chosen(answers))
        found = statistic_interval(statistic, n=n, seed=seed)
        if found.n >= FEW and not found.has_no_width:
            return found
        if all(map(math.isfinite, self.bounds)):
            return widened(found, self.sampling([answers], seed=seed), self.bounds)
        # A value without an end says nothing of what the sample does not contain; a few units contain little.
        return found if found.n >= FEW else replace(found, low=math.nan, high=math.nan)

    def difference(self, first: AnswersT, second: AnswersT, *, seed: int = 0) -> Interval:
        (one, n), (other, _) = (self._resampled(self.chosen(each)) for each in (first, second))
        found = statistic_interval(lambda counts: one(counts) - other(counts), n=n, seed=seed)
        if found.n == 1 or (found.n >= FEW and (not found.has_no_width or found.value == 0)):
            return found
        return widened(found, self.sampling([first], [second], seed=seed), self.range_of(difference=True))

    def sampling(self, runs: Sequence[AnswersT], against: Sequence[AnswersT] = (), *, seed: int = 0) -> Sampling | None:
        """By the bootstrap, all runs on the same resamples; where these do not differ, as of units that are alike."""
        drawn = [[self._resampled(self.chosen(one)) for one in each] for each in (runs, against)]
        units = {n for each in drawn for _, n in each}
        if len(units) != 1 or units == {1}:
            return None
        (n,) = units
        ours, theirs = ([statistic for statistic, _ in each] for each in drawn)

        def mean(counts: np.ndarray) -> np.ndarray:
            values = np.mean([each(counts) for each in ours], axis=0)
            return np.asarray(values - np.mean([each(counts) for each in theirs], axis=0) if theirs else values)

        variance, value = resampled_variance(mean, n=n, seed=seed), float(mean(np.ones((1, n)))[0])
        if variance < ROUNDING**2:
            alike = np.full(n, value)
            return sampling_of_differences(alike) if against else sampling_of_values(alike, bounds=self.bounds)
        if np.isnan(variance):
            return None
        found = Sampling(value, variance, n - 1)
        return few_hold_zero(found, n) if against else found

    def _resampled(self, answers: AnswersT) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
        """The statistic of (replicate, n) counts of what a bootstrap draws, units or groups of them, and n."""
        statistic, groups = self.statistic(answers), answers.groups
        if groups is None:
            return statistic, answers.units
        return (lambda counts: statistic(counts[:, groups])), int(groups.max()) + 1


AnyMetric = Metric[Any]
