"""Intervals over seeds hold the error of a small test; none leaves its metric's range; saturated recalls give way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest

from structure.pipeline.metrics.answers import Answers, ClassAnswers, MultilabelAnswers, RetrievalAnswers
from structure.pipeline.metrics.chance import shown_rows, unsaturated_ks
from structure.pipeline.metrics.intervals import is_significant, multiplicity, seeds_interval, signed
from structure.pipeline.metrics.paired_comparison import Pairing
from structure.pipeline.metrics.registry import metric_named
from structure.pipeline.metrics.seed_comparison import seed_differences, seed_means
from structure.pipeline.results import Result


def results(values: dict[int, np.ndarray], *, name: str, metric: str = "acc1") -> dict[int, list[Result]]:
    """One result for each seed, of (n,) hits."""
    return {
        seed: [Result(f"{name}-seed{seed}", "s", "d", "t", metric, hits.mean(), 0, 1, len(hits), 0.1, {})]
        for seed, hits in values.items()
    }


def tables(*sides: tuple[str, dict[int, np.ndarray]]) -> Any:
    """The predictions of every aligner by its name: rank 0 for a hit."""
    ranks = {f"{name}-seed{seed}": np.where(hits, 0, 1) for name, values in sides for seed, hits in values.items()}

    def table(result: Result) -> pa.Table:
        return pa.table({"sample": [str(i) for i in range(result.n)], "rank": ranks[result.aligner]})

    return table


def flipped(count: int, n: int, seeds: int = 3) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Two variants that differ on the same `count` of n samples with every seed, always to the second's favour."""
    other = np.arange(n) % 2 == 0
    other[:count] = True
    mine = other.copy()
    mine[:count] = False
    return dict.fromkeys(range(seeds), mine), dict.fromkeys(range(seeds), other)


@pytest.mark.parametrize(("count", "n", "clear"), [(1, 30, False), (5, 30, False), (6, 30, True), (5, 400, False)])
def test_a_few_samples_that_differ_are_not_significant_however_equal_the_seeds(count: int, n: int, clear: bool) -> None:
    first, second = flipped(count, n)
    said = tables(("a", first), ("b", second))
    (row,) = seed_differences("a", results(first, name="a"), "b", results(second, name="b"), said)
    assert row.value == pytest.approx(-count / n)
    assert row.of_test
    assert row.is_significant is clear
    assert clear == (binomtest(count, count).pvalue < 0.05)
    (alone,) = seed_differences("a", results(first, name="a"), "b", results(second, name="b"))
    assert alone.low < row.low  # shares that are not paired leave more doubt
    assert not (alone.is_significant and not row.is_significant)


def test_the_interval_covers_the_difference_of_all_samples() -> None:
    """60 samples and 3 seeds of two aligners with a known difference: 95 of 100 intervals hold it."""
    random, held, trials = np.random.default_rng(0), 0, 400
    for _ in range(trials):
        hard = random.random(60)  # a sample is as hard for every seed of both
        seeds = 0.05 * random.standard_normal((2, 3))
        first, second = (
            {seed: hard < level + seeds[side, seed] for seed in range(3)} for side, level in enumerate((0.6, 0.5))
        )
        said = tables(("a", first), ("b", second))
        (row,) = seed_differences("a", results(first, name="a"), "b", results(second, name="b"), said)
        held += row.low <= 0.1 <= row.high
    assert held / trials >= 0.93


def test_a_large_test_leaves_students_interval() -> None:
    random = np.random.default_rng(1)
    first, second = ({seed: random.random(200_000) < 0.5 + 0.02 * seed * side for seed in range(4)} for side in (1, 0))
    (row,) = seed_differences(
        "a", results(first, name="a"), "b", results(second, name="b"), tables(("a", first), ("b", second))
    )
    alone = seeds_interval(*(np.array([hits.mean() for hits in side.values()]) for side in (first, second)))
    assert row.low == pytest.approx(alone.low, abs=2e-3)
    assert row.high == pytest.approx(alone.high, abs=2e-3)


def test_one_seed_has_the_interval_that_the_metric_has_of_its_test() -> None:
    """A demo of one seed, an evaluation and a comparison of two aligners say the same: one rule, one interval."""
    first, second = ({7: np.arange(400) % 10 < share} for share in (5, 4))
    said = tables(("a", first), ("b", second))
    ((ours,), (theirs,)) = results(first, name="a")[7], results(second, name="b")[7]
    (mean,) = seed_means("a", {7: [ours]}, said)
    alone = metric_named("acc1").interval(Answers(said(ours)))
    assert (mean.value, mean.low, mean.high, mean.seeds) == (alone.value, alone.low, alone.high, 1)
    (row,) = seed_differences("a", {7: [ours]}, "b", {7: [theirs]}, said)
    paired = Pairing.of(said(ours), said(theirs)).difference("acc1")
    assert paired is not None
    assert (row.value, row.low, row.high, row.seeds) == (paired.value, paired.low, paired.high, 1)
    assert 0.06 < row.low < 0.1 < row.high < 0.14
    assert row.is_significant


def test_a_star_of_one_seed_is_that_of_the_bootstrap() -> None:
    """Of 794 queries the first has 35 alone and the second 20: Student's t over pseudo-units would exclude zero by
    .0003, the bootstrap of the samples does not."""
    order = np.arange(794)
    first, second = {1: order < 435}, {1: (order < 400) | (order >= 774)}
    sides = results(first, name="a"), results(second, name="b")
    said = tables(("a", first), ("b", second))
    (row,) = seed_differences("a", sides[0], "b", sides[1], said)
    paired = Pairing.of(*(said(side[1][0]) for side in sides)).difference("acc1")
    assert paired is not None
    assert (row.low, row.is_significant) == (paired.low, False)
    assert is_significant(0.001, 0.1)
    assert not is_significant(0.001, 0.1, of_test=False)


def test_a_bound_that_is_not_zero_is_not_written_as_zero() -> None:
    assert signed(0.02, 0.0004, 0.04) == "+0.020 [+0.0004, +0.040]"
    assert signed(-0.02, -0.04, -0.00002) == "-0.020 [-0.040, -0.00002]"
    assert signed(0.02, 0.0, 0.04) == "+0.020 [+0.000, +0.040]"
    assert signed(0.1, float("nan"), float("nan")) == "+0.100 [+nan, +nan]"


def test_no_interval_leaves_the_range_of_its_metric() -> None:
    for metric, values in (("mean_average_precision", [1.0, 0.8, 0.99]), ("image_retrieval_median_rank", [1, 1, 3])):
        runs = {s: [Result("a", "s", "d", "t", metric, v, v, v, 9, None, {})] for s, v in enumerate(values)}
        (row,) = seed_means("a", runs)
        least, greatest = metric_named(metric).bounds
        assert least <= row.low <= row.value <= row.high <= greatest
    best = {seed: np.ones(4, dtype=bool) for seed in range(3)}
    worst = {seed: np.zeros(4, dtype=bool) for seed in range(3)}
    said = tables(("a", best), ("b", worst))
    (row,) = seed_differences("a", results(best, name="a"), "b", results(worst, name="b"), said)
    assert (row.value, row.high) == (1, 1)
    assert row.low < 0  # four of four: p = .125 in the sign test


@pytest.mark.parametrize("n", [5, 12, 100])
def test_all_right_of_a_few_is_not_certainly_all_right(n: int) -> None:
    found = metric_named("acc1").interval(ClassAnswers(pa.table({"rank": np.zeros(n)}), classes=3))
    exact = binomtest(n, n).proportion_ci(method="exact")
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(exact.low, abs=0.09)
    first, second = (Answers(pa.table({"rank": np.where(np.arange(n) < k, 1, 0)})) for k in (0, 3))
    assert metric_named("acc1").difference(first, second).low < 0  # three that differ are never significant


def test_a_recall_that_chance_reaches_gives_way_to_a_smaller_k() -> None:
    assert unsaturated_ks((1, 5, 10), 17) == (1, 5)
    assert unsaturated_ks((1, 5, 10), 1000) == (1, 5, 10)
    assert unsaturated_ks((5, 10), 4) == (5,)
    rows = [
        {"dataset": dataset, "metric": f"image_retrieval_recall@{k}", "chance": min(k / n, 1)}
        for dataset, n in (("few", 17), ("many", 900))
        for k in (1, 5, 10)
    ]
    shown = [(row["dataset"], row["metric"]) for row in shown_rows(rows, ["image_retrieval_recall@10"])]
    assert shown == [("few", "image_retrieval_recall@5"), ("many", "image_retrieval_recall@10")]


def test_several_intervals_are_told_together() -> None:
    told = multiplicity([(0.1, 0.2), (-0.1, 0.1), (float("nan"), float("nan"))] + [(0.0, 0.1)] * 8)
    assert told.startswith("1 of 10 intervals exclude zero.")
    assert "were there no difference anywhere, about 0.5 would exclude it too" in told


def retrieval(ranks: list[int]) -> Answers:
    """Of (n,) pairs in both directions; the rank of each right answer, from 0."""
    names = [str(i) for i in range(len(ranks))]
    table = pa.table(
        {
            "query": names * 2,
            "of": ["image"] * len(names) + ["text"] * len(names),
            "item": names * 2,
            "rank": ranks * 2,
            "average_precision": [1 / (rank + 1) for rank in ranks] * 2,
        }
    )
    return RetrievalAnswers(table, np.tile(np.arange(len(names)), 2))


def multilabel(right: bool, n: int) -> Answers:
    """Of n samples of one class each, in turn."""
    labels = np.arange(n) % 3
    said = labels if right else (labels + 1) % 3
    scores = (np.arange(3) == said[:, None]) + np.zeros((n, 3))
    return MultilabelAnswers(pa.table({"labels": [[int(i)] for i in labels], "scores": scores.tolist()}))


DIFFERING = ["image_retrieval_recall@1", "text_retrieval_map", "image_retrieval_median_rank", "mean_average_precision"]


@pytest.mark.parametrize("name", DIFFERING)
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_fewer_than_six_pairs_that_differ_never_exclude_zero(name: str, n: int) -> None:
    """However they differ: all of five right against all of five wrong is 1 in 16 of chance."""
    if name == "mean_average_precision":
        first, second = multilabel(True, n), multilabel(False, n)
    else:
        first, second = retrieval([0] * n), retrieval([1 + i for i in range(n)])
    metric = metric_named(name)
    found = metric.difference(first, second)
    assert found.low <= 0 <= found.high
    sampling = metric.sampling([first], [second])
    assert sampling is not None
    low, high = sampling.interval(found.value, metric.range_of(difference=True))
    assert low <= 0 <= high


@pytest.mark.parametrize("name", DIFFERING)
def test_no_difference_is_certain_to_the_last_digit(name: str) -> None:
    """Thirty pairs that all differ alike are not all pairs that there are."""
    n = 30
    first, second = retrieval([0] * n), retrieval([1] * n)
    if name == "mean_average_precision":
        first, second = multilabel(True, n), multilabel(False, n)
    found = metric_named(name).difference(first, second)
    assert found.high - found.low > 0.01
    assert not found.low <= 0 <= found.high
    same = metric_named(name).difference(first, first)
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_a_value_of_all_samples_alike_may_be_another_of_others() -> None:
    for n in (3, 30):
        found = metric_named("mean_average_precision").interval(multilabel(True, n))
        assert (found.value, found.high) == (1, 1)
        assert found.low < 1 - 0.1 * 30 / n / 10
    few = metric_named("image_retrieval_median_rank").interval(retrieval([0] * 5))
    assert np.isnan([few.low, few.high]).all()  # nothing bounds a rank: the sixth may be the last of a million
    assert metric_named("image_retrieval_median_rank").interval(retrieval([0] * 6)).high == 1
