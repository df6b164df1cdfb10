"""Bootstrap draws that are made once, and medians of many resamples, against the plain way."""

from __future__ import annotations

import numpy as np
import pytest

from structure.pipeline.metrics import resamples as module
from structure.pipeline.metrics.intervals import statistic_interval
from structure.pipeline.metrics.resamples import resamples
from structure.pipeline.metrics.weighted_median import weighted_median


def plain_median(values: np.ndarray, member: np.ndarray, counts: np.ndarray) -> float:
    """The lower median of the values, each as often as its cluster was drawn."""
    drawn = np.sort(np.repeat(values, counts[member].astype(int)))
    return float(drawn[(len(drawn) - 1) // 2])


@pytest.mark.parametrize("levels", [1, 3, 40, 4000])
@pytest.mark.parametrize("clusters", [2, 30, 200])
def test_medians_are_those_of_the_sorted_resamples(levels: int, clusters: int) -> None:
    random = np.random.default_rng(levels + clusters)
    member = np.concatenate([np.arange(clusters), random.integers(clusters, size=2 * clusters)])
    values = random.integers(levels, size=len(member)) / 7
    counts = next(iter(resamples(np.ones(clusters, dtype=np.int64), seed=0, replicates=50)))
    found = weighted_median(values, member)(counts)
    assert found.tolist() == [plain_median(values, member, row) for row in counts]


def test_a_median_far_from_that_of_the_sample_is_found() -> None:
    """One resample draws the smallest value alone, another the greatest: all levels are between them."""
    values = np.arange(300.0)
    counts = np.zeros((3, 300))
    counts[0, 0] = counts[1, 299] = counts[2, 150] = 300
    assert weighted_median(values, np.arange(300))(counts).tolist() == [0, 299, 150]


def test_draws_that_are_kept_are_those_that_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts too; units are drawn one by one from one stream of random numbers."""
    monkeypatch.setattr(module, "COUNTS_AT_ONCE", 1000)
    ones = np.ones(30, dtype=np.int64)
    kept = [list(resamples(ones, seed=3, replicates=100)) for _ in range(2)]
    monkeypatch.setattr(module, "KEPT_COUNTS", 0)
    made = list(resamples(ones, seed=3, replicates=100))
    random = np.random.default_rng(3)
    plain = [[np.bincount(random.integers(30, size=30), minlength=30) for _ in range(len(part))] for part in made]
    assert [len(part) for part in made] == [33, 33, 33, 1]
    for parts in (*kept, made, plain):
        np.testing.assert_array_equal(np.concatenate(parts), np.concatenate(made))
    assert all(part.dtype == np.float64 for parts in (*kept, made) for part in parts)


def test_draws_are_made_once_for_statistics_of_as_many_units(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    draws = module._draws
    monkeypatch.setattr(module, "_draws", lambda units, *rest: made.append(units) or draws(units, *rest))
    for scale in (1.0, 2.0, 3.0):
        values = scale * np.arange(91)
        statistic_interval(lambda taken, values=values: taken @ values, n=91, seed=77)
    assert made == [91]
