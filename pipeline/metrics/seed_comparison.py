"""Many seeds of many variants as one table: means over seeds, and paired differences between variants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from structure.pipeline.metrics.answers import answers_of
from structure.pipeline.metrics.intervals import Interval, is_significant, seeds_interval
from structure.pipeline.metrics.paired_comparison import Pairing
from structure.pipeline.metrics.registry import METRICS, metric_named, pattern_of
from structure.pipeline.metrics.sampling import Sampling, sampling_of_share
from structure.pipeline.results import Result

Runs = Mapping[int, Sequence[Result]]
"""Training seed -> results of the aligner trained with it."""

Tables = Callable[[Result], pa.Table | None]
"""The predictions that a result was computed from; None where they are not at hand."""


def no_tables(result: Result) -> pa.Table | None:
    """Predictions are not at hand: the sampling error of shares is then that of two samples that are not paired."""
    return None


@dataclass(frozen=True)
class SeedMean:
    """Mean over seeds of one metric of one variant, with its 95 % interval.

    `of_test`: whether the interval holds the sampling error of the test besides the spread over the seeds.
    """

    variant: str
    dataset: str
    task: str
    metric: str
    value: float
    low: float
    high: float
    seeds: int
    chance: float | None
    of_test: bool = False

    def row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class SeedDifference:
    """Mean over seeds of `first - second` on one metric: the same seed, data and batches on both sides.

    `low` to `high` is its 95 % interval; if it contains zero, the difference is not statistically significant. It holds
    the sampling error of the test besides the spread over the seeds where `of_test`.
    """

    first: str
    second: str
    dataset: str
    task: str
    metric: str
    value: float
    low: float
    high: float
    seeds: int
    of_test: bool = False

    def row(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def is_significant(self) -> bool:
        """Whether it is statistically significant."""
        return is_significant(self.low, self.high, of_test=self.of_test)


def seed_means(variant: str, runs: Runs, tables: Tables = no_tables) -> list[SeedMean]:
    """One row for every metric that all seeds have."""
    rows = []
    for key in _keys(runs):
        results = _results(runs, key, sorted(runs))
        found, of_test = _interval(results, (), tables)
        rows.append(
            SeedMean(variant, *key, found.value, found.low, found.high, found.n, results[0].chance, of_test=of_test)
        )
    return rows


def seed_differences(
    first: str, first_runs: Runs, second: str, second_runs: Runs, tables: Tables = no_tables
) -> list[SeedDifference]:
    """One row for every metric that both variants have; only seeds that both were trained with count."""
    seeds = sorted(first_runs.keys() & second_runs.keys())
    rows = []
    for key in _keys(first_runs):
        if key not in _keys(second_runs):
            continue
        ours, theirs = _results(first_runs, key, seeds), _results(second_runs, key, seeds)
        found, of_test = _interval(ours, theirs, tables)
        rows.append(SeedDifference(first, second, *key, found.value, found.low, found.high, found.n, of_test=of_test))
    return rows


def _keys(runs: Runs) -> list[tuple[str, str, str]]:
    per_seed = [[(r.dataset, r.task, r.metric) for r in results] for results in runs.values()]
    return [key for key in per_seed[0] if all(key in keys for keys in per_seed)] if per_seed else []


def _results(runs: Runs, key: tuple[str, str, str], seeds: Sequence[int]) -> list[Result]:
    """The result of each seed."""
    found = {(seed, (r.dataset, r.task, r.metric)): r for seed, results in runs.items() for r in results}
    return [found[seed, key] for seed in seeds]


def _interval(ours: Sequence[Result], theirs: Sequence[Result], tables: Tables) -> tuple[Interval, bool]:
    """The mean over seeds with its interval, and whether that holds the sampling error of the test.

    Of a single seed it is the metric's own over the test samples, the same that an evaluation of one aligner and a
    comparison of two give.
    """
    single = _of_one_seed(ours[0], theirs[0] if theirs else None, tables) if len(ours) == 1 else None
    if single is not None:
        return single, True
    values = np.array([result.value for result in ours])
    other = np.array([result.value for result in theirs]) if theirs else None
    name = ours[0].metric
    if pattern_of(name)[0] not in METRICS:
        return seeds_interval(values, other), False
    sampling = _sampling(ours, theirs, tables)
    bounds = metric_named(name).range_of(difference=bool(theirs))
    return seeds_interval(values, other, sampling=sampling, bounds=bounds), sampling is not None


def _of_one_seed(one: Result, other: Result | None, tables: Tables) -> Interval | None:
    """The interval over test samples of one run, or of the difference of two; None where the predictions are not at
    hand or lack what the metric reads."""
    first, second = tables(one), None if other is None else tables(other)
    if first is None or pattern_of(one.metric)[0] not in METRICS:
        return None
    metric, answers = metric_named(one.metric), answers_of(first)
    if other is None:
        found = metric.interval(answers) if metric.holds(answers) else None
    else:
        found = None if second is None else Pairing.of(first, second).difference(one.metric)
    return None if found is None else replace(found, n=1)


def _sampling(ours: Sequence[Result], theirs: Sequence[Result], tables: Tables) -> Sampling | None:
    metric = metric_named(ours[0].metric)
    first, second = ([table for table in map(tables, side) if table is not None] for side in (ours, theirs))
    if len(first) == len(ours) and len(second) == len(theirs):
        if theirs:
            pairings = [Pairing.of(one, other) for one, other in zip(first, second, strict=True)]
            first, second = [each.first for each in pairings], [each.second for each in pairings]
        answers = [[answers_of(table) for table in side] for side in (first, second)]
        if all(metric.holds(each) for side in answers for each in side):
            return metric.sampling(*answers)
    if metric.bounds != (0.0, 1.0):
        return None
    if theirs and all(one.value == other.value for one, other in zip(ours, theirs, strict=True)):
        return Sampling(0.0, 0.0, 1)
    sides = [side for side in (ours, theirs) if side]
    shares = [sampling_of_share(float(np.mean([one.value for one in side])), side[0].n) for side in sides]
    if not theirs:
        return shares[0]
    centre, variance = shares[0].centre - shares[1].centre, shares[0].variance + shares[1].variance
    return Sampling(centre, variance, min(share.freedom for share in shares))
