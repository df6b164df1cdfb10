"""Intervals against plain resampling, exact quantiles and scipy; chance levels against simulation of the guess."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, hypergeom, ttest_rel

from structure.pipeline.metrics.answers import Answers, ClassAnswers, MultilabelAnswers, RetrievalAnswers
from structure.pipeline.metrics.average_precision import average_precisions
from structure.pipeline.metrics.clip_benchmark_metrics import multilabel_metrics, segmentation_metrics
from structure.pipeline.metrics.confusion_areas import segmentation_areas
from structure.pipeline.metrics.intervals import (
    _kinds,
    holds_zero,
    mean_interval,
    median_interval,
    paired_interval,
    seeds_interval,
    statistic_interval,
)
from structure.pipeline.metrics.registry import metric_named
from structure.store.errors import StructureError


def test_hits_give_the_binomial_quantiles():
    hits = np.arange(400) < 130
    found = mean_interval(hits, replicates=40_000)
    assert (found.value, found.n) == (0.325, 400)
    low, high = binom.ppf([0.025, 0.975], 400, 0.325) / 400
    assert found.low == pytest.approx(low, abs=0.0026)
    assert found.high == pytest.approx(high, abs=0.0026)


@pytest.mark.parametrize(
    ("low", "high", "held"),
    [(0.01, 0.2, False), (-0.2, -0.01, False), (-0.1, 0.1, True), (0.0, 0.2, True), (-0.2, 0.0, True)],
)
def test_an_interval_tells_two_apart_only_where_it_does_not_hold_zero(low: float, high: float, held: bool) -> None:
    assert holds_zero(low, high) is held


def test_where_there_is_no_interval_nothing_is_told_apart() -> None:
    one = seeds_interval(np.array([0.3]))
    assert holds_zero(one.low, one.high)


def test_clusters_are_resampled_whole():
    """Five captions of an image that are right or wrong together carry the information of one."""
    random = np.random.default_rng(0)
    by_image = random.random(100) < 0.4
    hits, image = np.repeat(by_image, 5), np.repeat(np.arange(100), 5)
    together = mean_interval(hits, clusters=image)
    alone = mean_interval(by_image)
    assert (together.value, together.low, together.high, together.n) == (
        pytest.approx(alone.value),
        pytest.approx(alone.low),
        pytest.approx(alone.high),
        100,
    )
    apart = mean_interval(hits)
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_uneven_clusters_equal_plain_resampling():
    random = np.random.default_rng(1)
    sizes = random.integers(1, 7, 80)
    image = np.repeat(np.arange(80), sizes)
    values = random.random(len(image)) < 0.3 + 0.4 * (image % 2)
    plain = []
    for _ in range(4000):
        drawn = random.integers(0, 80, 80)
        chosen = np.concatenate([np.flatnonzero(image == one) for one in drawn])
        plain.append(values[chosen].mean())
    low, high = np.quantile(plain, [0.025, 0.975])
    found = mean_interval(values, clusters=image, replicates=8000)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(low, abs=0.01)
    assert found.high == pytest.approx(high, abs=0.01)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30), st.integers(0, 5), st.randoms())
def test_an_interval_holds_its_mean_and_forgets_the_order(values, seed, shuffle):
    found = mean_interval(np.array(values), seed=seed, replicates=200)
    assert min(values) <= found.low <= found.high <= max(values)
    mixed = list(values)
    shuffle.shuffle(mixed)
    assert mean_interval(np.array(mixed), seed=seed, replicates=200) == found


def test_a_statistic_that_is_a_mean_gives_the_interval_of_the_mean():
    values = np.random.default_rng(2).normal(size=150)
    found = statistic_interval(lambda taken: taken @ values / taken.sum(axis=1), n=150, replicates=20_000)
    mean = mean_interval(values, replicates=20_000)
    assert found.value == pytest.approx(mean.value)
    assert found.low == pytest.approx(mean.low, abs=0.01)
    assert found.high == pytest.approx(mean.high, abs=0.01)


def test_map_and_miou_have_intervals():
    random = np.random.default_rng(3)
    targets = random.integers(0, 2, (60, 4))
    scores = targets + random.normal(size=(60, 4))
    found = statistic_interval(
        lambda taken: average_precisions(scores, targets, weights=taken).mean(axis=1), n=60, replicates=300
    )
    assert found.value == pytest.approx(multilabel_metrics(scores, targets)["mean_average_precision"])
    assert found.low < found.value < found.high
    truth = random.integers(0, 3, (20, 8, 8))
    guess = np.where(random.random(truth.shape) < 0.7, truth, 0)
    areas = segmentation_areas(guess, truth, classes=3)
    found = statistic_interval(areas.miou, n=20, replicates=300)
    assert found.value == pytest.approx(segmentation_metrics(guess, truth, classes=3)["miou"])
    assert found.low < found.value < found.high


def test_pairing_sees_a_difference_that_the_two_intervals_hide():
    random = np.random.default_rng(4)
    hard = random.random(2000)
    first, second = hard < 0.53, hard < 0.50
    one, other = mean_interval(first), mean_interval(second)
    assert other.high > one.low
    difference = paired_interval(first, second)
    assert difference.value == pytest.approx(one.value - other.value)
    assert difference.low > 0


def test_seeds_follow_students_t():
    first, second = np.array([0.31, 0.35, 0.33, 0.30, 0.36]), np.array([0.28, 0.33, 0.32, 0.30, 0.31])
    expected = ttest_rel(first, second).confidence_interval(0.95)
    found = seeds_interval(first, second)
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert found.value == pytest.approx((first - second).mean())
    assert np.isnan(seeds_interval(np.array([0.4])).low)


def test_one_sample_has_no_interval_and_none_is_an_error():
    assert np.isnan(mean_interval(np.array([1.0])).high)
    assert np.isnan(mean_interval(np.array([1.0, 0.0]), clusters=np.array([7, 7])).low)
    with pytest.raises(StructureError, match="at least one value"):
        mean_interval(np.array([]))
    with pytest.raises(StructureError, match="1 of 2 values are NaN"):
        mean_interval(np.array([1.0, np.nan]))
    with pytest.raises(StructureError, match="same samples"):
        paired_interval(np.ones(3), np.ones(4))
    with pytest.raises(StructureError, match="same seeds"):
        seeds_interval(np.ones(3), np.ones(4))


def chance(name: str, answers: Answers) -> float:
    level = metric_named(name).chance(answers)
    assert level is not None
    return level


def test_chance_of_classification():
    eight, four = (ClassAnswers(pa.table({}), classes=n) for n in (8, 4))
    assert [chance(name, eight) for name in ("acc1", "acc5", "mean_per_class_recall")] == [1 / 8, 5 / 8, 1 / 8]
    assert not metric_named("acc5").is_defined(four)


def retrieved(owner: np.ndarray) -> RetrievalAnswers:
    table = pa.table({"of": ["image"] * len(owner) + ["text"] * 3})
    return RetrievalAnswers(table, np.concatenate([owner, np.arange(3)]))


def test_chance_of_retrieval_is_the_hypergeometric_one():
    answers = retrieved(np.array([0, 0, 0, 1, 2, 2, 2, 2]))
    for k in (1, 2, 5, 8):
        expected = np.mean([1 - hypergeom.pmf(0, 8, p, k) for p in (3, 1, 4)])
        assert chance(f"text_retrieval_recall@{k}", answers) == pytest.approx(expected)
        assert chance(f"image_retrieval_recall@{k}", answers) == pytest.approx(min(1, k / 3))


def test_chance_of_multilabel_is_the_mean_over_every_order():
    targets = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]])
    orders = [
        multilabel_metrics(np.array(order, dtype=float)[:, None].repeat(3, axis=1), targets)
        for order in itertools.permutations(range(6))
    ]
    expected = np.mean([one["mean_average_precision"] for one in orders])
    labels = [np.flatnonzero(row).tolist() for row in targets]
    answers = MultilabelAnswers(pa.table({"labels": labels, "scores": targets.astype(float).tolist()}))
    assert chance("mean_average_precision", answers) == pytest.approx(expected)


def test_chance_of_ranks_is_the_mean_over_random_orders():
    random = np.random.default_rng(5)
    owner = np.array([0, 0, 0, 1, 2, 2, 2, 2])
    answers = retrieved(owner)
    orders = np.argsort(random.random((20_000, 8)), axis=1)
    best, precision = [], []
    for image in range(3):
        places = np.sort(np.argsort(orders, axis=1)[:, owner == image], axis=1)
        best.append(places[:, 0] + 1)
        precision.append((np.arange(1, places.shape[1] + 1) / (places + 1)).mean(axis=1))
    assert chance("text_retrieval_map", answers) == pytest.approx(np.mean(precision), abs=0.005)
    assert chance("text_retrieval_median_rank", answers) == np.median(np.concatenate(best))
    assert chance("image_retrieval_map", answers) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert chance("image_retrieval_median_rank", answers) == 2


def test_a_median_has_the_interval_of_its_order_statistics():
    values = np.arange(101)
    found = median_interval(values, replicates=8000)
    assert found.value == 50
    assert (found.low, found.high) == (pytest.approx(40, abs=1.5), pytest.approx(60, abs=1.5))
    clustered = median_interval(np.repeat(values, 3), clusters=np.repeat(values, 3), replicates=8000)
    assert (clustered.low, clustered.high, clustered.n) == (found.low, found.high, 101)


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1, 1, 1], [5, 5, 5, 5, 5, 5], [5, 5, 2, 5, 1, 2]])
def test_units_of_a_kind_are_counted_together(sizes: list[int]) -> None:
    """In the order of their pairs, whether all have one size or not: the draws depend on it."""
    sums, of_size = np.array([0.5, -1.0, 0.5, 2.0, -1.0, 0.5]), np.array(sizes, dtype=np.float64)
    kinds, counts = _kinds(sums, of_size)
    expected = np.unique(np.stack([sums, of_size], axis=1), axis=0, return_counts=True)
    np.testing.assert_array_equal(kinds, expected[0])
    np.testing.assert_array_equal(counts, expected[1])
    assert kinds.dtype == np.float64
