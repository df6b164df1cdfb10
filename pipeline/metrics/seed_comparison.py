"""Many seeds of many variants as one table: means over seeds, and paired differences between variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from structure.pipeline.metrics.intervals import Interval, seeds_interval
from structure.pipeline.results import Result

Runs = Mapping[int, Sequence[Result]]
"""Training seed -> results of the aligner trained with it."""


@dataclass(frozen=True)
class SeedMean:
    """Mean over seeds of one metric of one variant, with Student's 95 % interval over the seeds."""

    variant: str
    dataset: str
    task: str
    metric: str
    value: float
    low: float
    high: float
    seeds: int
    chance: float | None

    def row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class SeedDifference:
    """Mean over seeds of `first - second` on one metric: the same seed, data and batches on both sides.

    `low` to `high` is Student's 95 % interval; if it contains zero, the seeds do not tell the two apart.
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

    def row(self) -> dict[str, Any]:
        return asdict(self)


def seed_means(variant: str, runs: Runs) -> list[SeedMean]:
    """One row for every metric that all seeds have."""
    return [
        SeedMean(variant, *key, mean.value, mean.low, mean.high, mean.n, chance)
        for key, (mean, chance) in ((key, _mean(runs, key)) for key in _keys(runs))
    ]


def seed_differences(first: str, first_runs: Runs, second: str, second_runs: Runs) -> list[SeedDifference]:
    """One row for every metric that both variants have; only seeds that both were trained with count."""
    seeds = sorted(first_runs.keys() & second_runs.keys())
    rows = []
    for key in _keys(first_runs):
        if key not in _keys(second_runs):
            continue
        ours, theirs = _values(first_runs, key, seeds), _values(second_runs, key, seeds)
        found = seeds_interval(ours, theirs)
        rows.append(SeedDifference(first, second, *key, found.value, found.low, found.high, found.n))
    return rows


def _keys(runs: Runs) -> list[tuple[str, str, str]]:
    per_seed = [[(r.dataset, r.task, r.metric) for r in results] for results in runs.values()]
    return [key for key in per_seed[0] if all(key in keys for keys in per_seed)] if per_seed else []


def _values(runs: Runs, key: tuple[str, str, str], seeds: Sequence[int]) -> np.ndarray:
    found = {(seed, (r.dataset, r.task, r.metric)): r.value for seed, results in runs.items() for r in results}
    return np.array([found[seed, key] for seed in seeds])


def _mean(runs: Runs, key: tuple[str, str, str]) -> tuple[Interval, float | None]:
    chance = next(r.chance for results in runs.values() for r in results if (r.dataset, r.task, r.metric) == key)
    return seeds_interval(_values(runs, key, sorted(runs))), chance
