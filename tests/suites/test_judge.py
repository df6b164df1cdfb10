"""A judgement holds the metrics of `metrics.py`, an interval around each, chance, and one row a query."""

from __future__ import annotations

import numpy as np
import pytest

from structure.pipeline.suites.judge import judge_classification, judge_multilabel, judge_retrieval
from structure.pipeline.suites.metrics import classification_metrics, multilabel_metrics, retrieval_metrics
from structure.store import StructureError

RANDOM = np.random.default_rng(0)


def test_classification_is_the_plain_metric_with_intervals_and_predictions() -> None:
    vectors = RANDOM.standard_normal((7, 12)).astype(np.float32)
    labels = RANDOM.integers(0, 6, 200)  # class 6 never occurs
    images = (vectors[labels] + 1.5 * RANDOM.standard_normal((200, 12))).astype(np.float32)
    labels[:10] = -1
    judged = judge_classification(
        [images[:70], images[70:]],
        vectors,
        labels,
        ids=[f"i{i}" for i in range(200)],
        classes=[f"c{i}" for i in range(7)],
    )
    cosine = (images / np.linalg.norm(images, axis=1, keepdims=True)) @ (
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ).T
    expected = classification_metrics(100 * cosine[10:], labels[10:])
    assert judged.metrics() == pytest.approx(expected)
    for name, interval in judged.intervals.items():
        assert interval.low <= interval.value <= interval.high, name
    assert judged.chance["acc1"] == pytest.approx(1 / 7)
    assert judged.notes == {"classes_without_samples": 1, "unlabelled": 10}
    assert judged.samples.num_rows == 190
    right = [a == b for a, b in zip(*(judged.samples[c].to_pylist() for c in ("label", "prediction")), strict=True)]
    assert np.mean(right) == pytest.approx(expected["acc1"])


def test_four_classes_have_no_acc5_and_no_label_is_an_error() -> None:
    images = RANDOM.standard_normal((20, 5)).astype(np.float32)
    names = list("abcd")
    judged = judge_classification(
        [images], images[:4], np.arange(20) % 4, ids=[str(i) for i in range(20)], classes=names
    )
    assert judged.undefined == ("acc5",)
    assert np.isnan(judged.metrics()["acc5"])
    with pytest.raises(StructureError, match="No sample has a label"):
        judge_classification([images], images[:4], np.full(20, -1), ids=[str(i) for i in range(20)], classes=names)


def test_multilabel_is_the_plain_metric() -> None:
    images, vectors = RANDOM.standard_normal((60, 8)), RANDOM.standard_normal((5, 8))
    targets = RANDOM.integers(0, 2, (60, 5))
    judged = judge_multilabel([images[:7], images[7:]], vectors, targets, ids=[str(i) for i in range(60)])
    interval = judged.intervals["mean_average_precision"]
    cosine = (images / np.linalg.norm(images, axis=1, keepdims=True)) @ (
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ).T
    assert interval.value == pytest.approx(multilabel_metrics(cosine, targets)["mean_average_precision"])
    assert interval.low < interval.value < interval.high


def test_retrieval_is_the_plain_metric_and_captions_stay_with_their_image() -> None:
    images = RANDOM.standard_normal((40, 8)).astype(np.float32)
    owner = np.repeat(np.arange(40), 3)
    texts = (images[owner] + RANDOM.standard_normal((120, 8))).astype(np.float32)
    judged = judge_retrieval(
        images, texts, owner, image_ids=[f"i{i}" for i in range(40)], text_ids=[f"t{i}" for i in range(120)]
    )
    assert judged.metrics() == pytest.approx(retrieval_metrics(images, texts, owner))
    assert judged.intervals["image_retrieval_recall@1"].n == 40
    assert judged.samples.num_rows == 160
    assert judged.chance["image_retrieval_recall@10"] == pytest.approx(0.25)
