"""A judgement holds the metrics of `metrics.py`, an interval around each, chance, and one row a query."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, confusion_matrix

from structure.pipeline.metrics.clip_benchmark_metrics import (
    classification_metrics,
    multilabel_metrics,
    retrieval_metrics,
)
from structure.pipeline.metrics.score import score_classification, score_multilabel, score_retrieval, score_selection
from structure.store import StructureError

RANDOM = np.random.default_rng(0)


def test_classification_is_the_plain_metric_with_intervals_and_predictions() -> None:
    vectors = RANDOM.standard_normal((7, 12)).astype(np.float32)
    labels = RANDOM.integers(0, 6, 200)  # class 6 never occurs
    images = (vectors[labels] + 1.5 * RANDOM.standard_normal((200, 12))).astype(np.float32)
    labels[:10] = -1
    judged = score_classification(
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
    assert judged.confusion is not None
    counts = np.zeros((7, 7), dtype=int)
    columns = ("label_index", "prediction_index", "count")
    for label, said, count in zip(*(judged.confusion[c].to_pylist() for c in columns), strict=True):
        counts[label, said] = count
    np.testing.assert_array_equal(counts, confusion_matrix(labels[10:], cosine[10:].argmax(axis=1), labels=range(7)))
    assert judged.samples.num_rows == 190
    right = [a == b for a, b in zip(*(judged.samples[c].to_pylist() for c in ("label", "prediction")), strict=True)]
    assert np.mean(right) == pytest.approx(expected["acc1"])


def test_four_classes_have_no_acc5_and_no_label_is_an_error() -> None:
    images = RANDOM.standard_normal((20, 5)).astype(np.float32)
    names = list("abcd")
    judged = score_classification(
        [images], images[:4], np.arange(20) % 4, ids=[str(i) for i in range(20)], classes=names
    )
    assert judged.undefined == ("acc5",)
    assert np.isnan(judged.metrics()["acc5"])
    with pytest.raises(StructureError, match="No sample has a label"):
        score_classification([images], images[:4], np.full(20, -1), ids=[str(i) for i in range(20)], classes=names)


def test_multilabel_is_the_plain_metric() -> None:
    images, vectors = RANDOM.standard_normal((60, 8)), RANDOM.standard_normal((5, 8))
    targets = RANDOM.integers(0, 2, (60, 5))
    judged = score_multilabel([images[:7], images[7:]], vectors, targets, ids=[str(i) for i in range(60)])
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
    judged = score_retrieval(
        images, texts, owner, image_ids=[f"i{i}" for i in range(40)], text_ids=[f"t{i}" for i in range(120)]
    )
    plain = retrieval_metrics(images, texts, owner)
    assert {name: judged.metrics()[name] for name in plain} == pytest.approx(plain)
    cosine = (images / np.linalg.norm(images, axis=1, keepdims=True)) @ (
        texts / np.linalg.norm(texts, axis=1, keepdims=True)
    ).T
    right = owner == np.arange(40)[:, None]
    expected = [average_precision_score(right[i], cosine[i]) for i in range(40)]
    assert judged.metrics()["text_retrieval_map"] == pytest.approx(np.mean(expected))
    expected = [average_precision_score(right[:, j], cosine[:, j]) for j in range(120)]
    assert judged.metrics()["image_retrieval_map"] == pytest.approx(np.mean(expected))
    first = 1 + (cosine > np.where(right, cosine, -2).max(axis=1, keepdims=True)).sum(axis=1)
    assert judged.metrics()["text_retrieval_median_rank"] == np.sort(first)[19]
    assert judged.intervals["image_retrieval_recall@1"].n == 40
    assert judged.samples.num_rows == 160
    assert judged.chance["image_retrieval_recall@10"] == pytest.approx(0.25)


def test_selection_is_clip_benchmarks_definition_written_out() -> None:
    """Groups of one image with two captions, and of two with two; the first ones belong together."""
    sizes = [(1, 2), (2, 2)] * 30
    pictures = np.repeat(np.arange(60), [p for p, _ in sizes])
    captions = np.repeat(np.arange(60), [c for _, c in sizes])
    images = RANDOM.standard_normal((len(pictures), 5))
    texts = RANDOM.standard_normal((len(captions), 5))
    mixed = RANDOM.permutation(60)  # the order of the groups does not matter, the order within one does
    judged = score_selection(
        images, texts, group_of_image=mixed[pictures], group_of_text=mixed[captions], groups=[str(i) for i in range(60)]
    )
    expected: dict[str, list[bool]] = {"image_acc": [], "text_acc": [], "acc": []}
    for group, (p, c) in enumerate(sizes):
        left, right = images[pictures == group], texts[captions == group]
        cosine = (left / np.linalg.norm(left, axis=1, keepdims=True)) @ (
            right / np.linalg.norm(right, axis=1, keepdims=True)
        ).T
        own = list(range(min(p, c)))
        text, image = cosine.argmax(1)[: len(own)].tolist() == own, cosine.argmax(0)[: len(own)].tolist() == own
        for name, hit in (("image_acc", image), ("text_acc", text), ("acc", image and text)):
            expected[name].append(hit)
    assert judged.metrics() == pytest.approx({name: np.mean(hits) for name, hits in expected.items()})
    assert judged.chance == pytest.approx({"image_acc": 0.625, "text_acc": 0.375, "acc": (1 / 2 + 1 / 6) / 2})
    with pytest.raises(StructureError, match="Group 'b' has 1 images and 0 captions"):
        score_selection(
            images[:2], texts[:1], group_of_image=np.array([0, 1]), group_of_text=np.array([0]), groups=["a", "b"]
        )
