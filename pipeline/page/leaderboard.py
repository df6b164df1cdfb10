"""Leaderboards: every variant that was evaluated on one test, by one metric, and how it differs from the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

from structure.pipeline.metrics.chance import SATURATED
from structure.pipeline.metrics.intervals import is_significant
from structure.pipeline.metrics.registry import METRICS, pattern_of
from structure.pipeline.metrics.seed_comparison import seed_differences, seed_means
from structure.pipeline.page.variants import seed_of, variant
from structure.pipeline.results import Result
from structure.store.errors import StructureError

MOST_AT = 10
"""The verdict is by recall at most at this k, and below it where chance is already high there."""

Predictions = Callable[[Result], pa.Table | None]
"""The predictions that a result was computed from; None where they are not at hand."""


@dataclass(frozen=True)
class Margin:
    """First minus second on one metric, on the same samples: the mean over `seeds` paired training seeds with its 95 %
    interval. `of_test`: the interval holds the sampling error of the test."""

    value: float
    low: float
    high: float
    seeds: int
    of_test: bool

    @property
    def is_significant(self) -> bool:
        """Whether it is statistically significant."""
        return is_significant(self.low, self.high, of_test=self.of_test)


@dataclass(frozen=True)
class Standing:
    """A variant on a leaderboard: its mean over training seeds, the 95 % interval, and the result of each seed. The
    interval of a single seed is over the test samples alone."""

    variant: str
    value: float
    low: float
    high: float
    runs: Mapping[int, Result]

    @property
    def result(self) -> Result:
        """That of the first seed."""
        return self.runs[min(self.runs)]


@dataclass(frozen=True)
class Leaderboard:
    """One test (a `question` of `Result`) and one metric; `runs` maps a variant to its results by training seed."""

    question: tuple[str, ...]
    metric: str
    runs: Mapping[str, Mapping[int, Result]]
    predictions: Predictions = field(repr=False)

    @cached_property
    def standings(self) -> list[Standing]:
        """The best first; equal ones in the order of their names."""
        pattern, _ = pattern_of(self.metric)
        sign = 1 if pattern in METRICS and not METRICS[pattern].higher_is_better else -1
        return sorted(map(self._standing, self.runs), key=lambda each: (sign * each.value, each.variant))

    @property
    def best(self) -> Standing:
        return self.standings[0]

    @property
    def test(self) -> str:
        """The data, as `dataset/split`."""
        _, dataset, _, split, _ = self.question
        return f"{dataset}/{split}" if split else dataset

    @property
    def task(self) -> str:
        return self.question[2]

    @property
    def n(self) -> int:
        """How many test samples (images, classes) the best was scored on."""
        return self.best.result.n

    @property
    def chance(self) -> float | None:
        return self.best.result.chance

    @property
    def is_saturated(self) -> bool:
        """Whether a random order already scores high: a recall that tells little."""
        return self.chance is not None and self.chance > SATURATED and "recall@" in self.metric

    @cached_property
    def margins(self) -> dict[str, Margin | None]:
        """The best minus each other variant; None for one that cannot be paired with it."""
        return {each.variant: self.margin(self.best, each) for each in self.standings[1:]}

    @property
    def level(self) -> list[str]:
        """The variants whose difference to the best is not statistically significant."""
        return [name for name, margin in self.margins.items() if margin is not None and not margin.is_significant]

    def margin(self, first: Standing, second: Standing) -> Margin | None:
        """Over the training seeds that both have, else of one run each; None where predictions were not saved or are
        of other samples."""
        seeds = sorted(first.runs.keys() & second.runs.keys())
        ours, theirs = (
            {seed: [side.runs[seed]] for seed in seeds} if seeds else {0: [side.result]} for side in (first, second)
        )
        if len(ours) == 1 and any(self.predictions(one) is None for side in (ours, theirs) for (one,) in side.values()):
            return None
        try:
            rows = seed_differences(first.variant, ours, second.variant, theirs, self.predictions)
        except StructureError:
            return None
        return next((Margin(row.value, row.low, row.high, row.seeds, row.of_test) for row in rows), None)

    def _standing(self, name: str) -> Standing:
        runs = self.runs[name]
        if len(runs) == 1:
            (only,) = runs.values()
            return Standing(name, only.value, only.low, only.high, runs)
        (mean,) = seed_means(name, {seed: [result] for seed, result in runs.items()}, self.predictions)
        return Standing(name, mean.value, mean.low, mean.high, runs)


def leaderboards(results: Iterable[Result], predictions: Predictions) -> list[Leaderboard]:
    """One for each test and metric, in the order of the results; values that are NaN are left out."""
    groups: dict[tuple[tuple[str, ...], str], dict[str, dict[int, Result]]] = {}
    for result in results:
        if not math.isnan(result.value):
            runs = groups.setdefault((result.question, result.metric), {})
            runs.setdefault(variant(result.aligner), {})[seed_of(result.aligner)] = result
    return [Leaderboard(*key, runs, predictions) for key, runs in groups.items()]


def headline_boards(boards: Sequence[Leaderboard]) -> list[Leaderboard]:
    """Of each test the metric that a verdict is by: the first one of its task in the registry; of recall@k the largest
    k up to `MOST_AT` that is not reached by chance already, nor by the best for every query."""
    tests: dict[tuple[str, ...], list[Leaderboard]] = {}
    for board in boards:
        tests.setdefault(board.question, []).append(board)
    return [min(each, key=_preference) for each in tests.values()]


def _preference(board: Leaderboard) -> tuple[bool, bool, int, float]:
    pattern, k = pattern_of(board.metric)
    order = list(METRICS)
    place = order.index(pattern) if pattern in METRICS else len(order)
    tells_little = board.is_saturated or (k is not None and board.best.value == 1)
    return tells_little, (k or 0) > MOST_AT, place, -(k or 0)
