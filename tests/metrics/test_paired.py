"""Paired differences from saved predictions equal the difference of the two metrics; other answers are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from structure.pipeline.metrics.confusion_areas import segmentation_areas
from structure.pipeline.metrics.paired_comparison import Pairing
from structure.pipeline.metrics.registry import evaluated_metrics
from structure.pipeline.metrics.score import (
    TaskScores,
    score_classification,
    score_multilabel,
    score_retrieval,
    score_selection,
)
from structure.pipeline.metrics.score_segmentation import score_segmentation
from structure.store import StructureError

RANDOM = np.random.default_rng(0)


def noisy(rows: np.ndarray, noise: float) -> np.ndarray:
    return (rows + noise * RANDOM.standard_normal(rows.shape)).astype(np.float32)


def classified(noise: float) -> TaskScores:
    vectors = np.eye(8, dtype=np.float32)
    labels = np.arange(240) % 7
    ids = [str(i) for i in range(240)]
    return score_classification([noisy(vectors[labels], noise)], vectors, labels, ids=ids, classes=list("abcdefgh"))


def multilabelled(noise: float) -> TaskScores:
    targets = np.random.default_rng(1).integers(0, 2, (80, 5))
    return score_multilabel([noisy(targets + 0.01, noise)], np.eye(5), targets, ids=[str(i) for i in range(80)])


def retrieved(noise: float) -> TaskScores:
    images = np.random.default_rng(2).standard_normal((60, 9)).astype(np.float32)
    owner = np.random.default_rng(3).permutation(np.repeat(np.arange(60), 3))
    names = {"image_ids": [f"i{i}" for i in range(60)], "text_ids": [f"t{i}" for i in range(180)]}
    return score_retrieval(
        images, noisy(images[owner], noise), owner, metrics=evaluated_metrics("zeroshot_retrieval", (1, 3)), **names
    )


def selected(noise: float) -> TaskScores:
    texts = np.random.default_rng(4).standard_normal((80, 6)).astype(np.float32)
    group = np.repeat(np.arange(40), 2)
    names = [str(i) for i in range(40)]
    return score_selection(noisy(texts, noise), texts, group_of_image=group, group_of_text=group, groups=names)


def segmented(noise: float) -> TaskScores:
    """Images of unequal size and classes of unequal share, so that a mean over images is not the value."""
    random = np.random.default_rng(5)
    truth = [random.choice(5, size=(4 + 3 * n, 8), p=[0.5, 0.3, 0.1, 0.06, 0.04]) for n in range(30)]
    guess = [np.where(RANDOM.random(one.shape) < noise / 3, RANDOM.integers(0, 5, one.shape), one) for one in truth]
    areas = segmentation_areas(guess, truth, classes=5)
    return score_segmentation(areas, ids=[str(n) for n in range(30)], classes="abcde", without=[0])


@pytest.mark.parametrize("judged", [segmented, classified, multilabelled, retrieved, selected])
def test_a_difference_is_the_difference_of_the_two_numbers(judged: Any) -> None:
    first, second = judged(0.5), judged(1.5)
    pairing = Pairing.of(first.samples, second.samples)
    shuffled = Pairing.of(first.samples, second.samples.take(pa.array(RANDOM.permutation(len(second.samples)))))
    assert pairing.left_out == 0
    for metric, value in first.metrics().items():
        found = pairing.difference(metric)
        assert found is not None
        assert found.value == pytest.approx(value - second.metrics()[metric], abs=1e-6), metric
        assert found.low <= found.value <= found.high
        assert shuffled.difference(metric) == found
        assert (found.low > 0) == (metric not in ("image_retrieval_median_rank", "text_retrieval_median_rank")), metric
    same = pairing.of(first.samples, first.samples).difference("acc1" if judged is classified else metric)
    assert same is not None
    assert (same.low, same.high) == (0, 0)


@pytest.mark.parametrize("judged", [segmented, classified, multilabelled, retrieved])
def test_samples_in_groups_are_resampled_together(judged: Any) -> None:
    first, second = judged(0.5).samples, judged(1.5).samples
    ids = sorted(set(first["item" if "item" in first.column_names else "sample"].to_pylist()))
    alone = Pairing.of(first, second, dict.fromkeys(ids))  # None: shared with nobody
    together = Pairing.of(first, second, {name: str(n // 5) for n, name in enumerate(ids)})
    for metric in judged(0.5).metrics():
        plain, own, grouped = (each.difference(metric) for each in (Pairing.of(first, second), alone, together))
        assert own == plain, metric
        assert grouped.value == plain.value
        if metric == "mean_per_class_recall":  # its units are classes
            assert grouped == plain
        else:
            assert grouped.n == -(-len(ids) // 5)
            is_whole = metric.endswith("median_rank")  # whole numbers, which another resampling may well give again
            assert is_whole or (grouped.low, grouped.high) != (plain.low, plain.high)
    with pytest.raises(StructureError, match=r"1 of \d+ answers are of no sample that has a group"):
        Pairing.of(first, second, dict.fromkeys(ids[1:])).difference(metric)


def test_an_interval_of_groups_is_as_wide_as_that_of_their_means() -> None:
    """All rows of a group alike: 20 groups of 30 say no more than 20 samples."""
    random = np.random.default_rng(0)
    ranks = [np.repeat((random.random(20) < share).astype(int), 30) for share in (0.3, 0.6)]
    first, second = (pa.table({"sample": [str(n) for n in range(600)], "rank": one}) for one in ranks)
    few = [pa.table({"sample": [str(n) for n in range(20)], "rank": one[::30]}) for one in ranks]
    grouped = Pairing.of(first, second, {str(n): str(n // 30) for n in range(600)}).difference("acc1")
    of_groups = Pairing.of(*few).difference("acc1")
    assert grouped is not None
    assert of_groups is not None
    assert (grouped.low, grouped.high, grouped.n) == pytest.approx((of_groups.low, of_groups.high, 20))


def test_what_only_one_has_read_is_left_out_and_counted() -> None:
    whole = classified(1.0).samples
    pairing = Pairing.of(whole, whole.slice(3, 200))
    assert (len(pairing.first), pairing.left_out) == (200, 40)


def test_other_answers_are_refused() -> None:
    one = classified(1.0).samples
    other = one.set_column(3, "label_index", pa.array(np.zeros(len(one), dtype=np.int32)))
    with pytest.raises(StructureError, match="label_index differs"):
        Pairing.of(one, other)
    with pytest.raises(StructureError, match="nothing to pair"):
        Pairing.of(one.slice(0, 10), one.slice(20))
    assert Pairing.of(one, one).difference("miou") is None
