"""What every evaluation metric says of itself, and the two usual ways to an interval."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from structure.pipeline.metrics.answers import Answers
from structure.pipeline.metrics.intervals import Interval, mean_interval, paired_interval, statistic_interval

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


class SampleMean(Metric[AnswersT]):
    """A mean of one number a query (or a class): bootstrap over them, clusters of queries together."""

    @abstractmethod
    def values(self, answers: AnswersT) -> np.ndarray:
        """(n,) float64 numbers whose mean it is."""

    def interval(self, answers: AnswersT, *, seed: int = 0) -> Interval:
        rows = self.chosen(answers)
        return mean_interval(self.values(rows), clusters=rows.clusters, seed=seed)

    def difference(self, first: AnswersT, second: AnswersT, *, seed: int = 0) -> Interval:
        ours, theirs = self.chosen(first), self.chosen(second)
        return paired_interval(self.values(ours), self.values(theirs), clusters=ours.clusters, seed=seed)


class SampleStatistic(Metric[AnswersT]):
    """A statistic that is no mean (a median, mean average precision): bootstrap over queries or their clusters."""

    @abstractmethod
    def statistic(self, answers: AnswersT) -> Callable[[np.ndarray], np.ndarray]:
        """The function (replicate, units) int64 counts -> (replicate,) values."""

    def interval(self, answers: AnswersT, *, seed: int = 0) -> Interval:
        rows = self.chosen(answers)
        return statistic_interval(self.statistic(rows), n=rows.units, seed=seed)

    def difference(self, first: AnswersT, second: AnswersT, *, seed: int = 0) -> Interval:
        ours, theirs = self.chosen(first), self.chosen(second)
        one, other = self.statistic(ours), self.statistic(theirs)
        return statistic_interval(lambda counts: one(counts) - other(counts), n=ours.units, seed=seed)


AnyMetric = Metric[Any]
