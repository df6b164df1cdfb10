"""The measures against scikit-learn, torchmetrics and the definition written out; ties, blocks and bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, balanced_accuracy_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from structure.pipeline.metrics import retrieval_ranks as ranks_module
from structure.pipeline.metrics.average_precision import average_precisions
from structure.pipeline.metrics.clip_benchmark_metrics import (
    classification_metrics,
    multilabel_metrics,
    retrieval_metrics,
    segmentation_metrics,
)
from structure.pipeline.metrics.confusion_areas import segmentation_areas
from structure.pipeline.metrics.predictions import classify, predict
from structure.pipeline.metrics.retrieval_ranks import retrieval_ranks
from structure.pipeline.metrics.zero_shot_classifier import class_vectors
from structure.store.errors import StructureError

TIED = st.integers(-2, 2).map(float)


@st.composite
def judged(draw):
    n, classes = draw(st.integers(1, 12)), draw(st.integers(2, 8))
    logits = draw(arrays(np.float32, (n, classes), elements=st.sampled_from([-100.0, -30.0, 0.0, 30.0, 100.0])))
    return logits, draw(arrays(np.int64, n, elements=st.integers(0, classes - 1)))


@given(judged())
def test_ranks_follow_score_then_class_index_whatever_the_block(case):
    logits, labels = case
    order = np.argsort(-logits, axis=1, kind="stable")
    ranks = np.argmax(order == labels[:, None], axis=1)
    for at_once in (1, 7, 10_000):
        found = predict(logits, labels, at_once=at_once)
        np.testing.assert_array_equal(found.ranks, ranks)
        np.testing.assert_array_equal(found.top, order[:, :5])
        np.testing.assert_array_equal(found.scores, np.take_along_axis(logits, order[:, :5], axis=1))


@given(judged())
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_mean_recall_and_confusion_equal_scikit_learn(case):
    logits, labels = case
    found = predict(logits, labels)
    best = logits.argmax(axis=1)
    assert found.metrics()["mean_per_class_recall"] == pytest.approx(balanced_accuracy_score(labels, best), abs=1e-12)
    expected = sklearn_confusion(labels, best, labels=range(logits.shape[1]))
    np.testing.assert_array_equal(found.confusion(), expected)


@given(st.data())
def test_average_precision_equals_scikit_learn_with_ties(data):
    n = data.draw(st.integers(1, 15))
    scores = data.draw(arrays(np.float32, (n, 2), elements=TIED))
    targets = data.draw(arrays(np.int64, (n, 2), elements=st.integers(0, 1)))
    for column, found in enumerate(average_precisions(scores, targets)):
        positive = targets[:, column].any()
        expected = average_precision_score(targets[:, column], scores[:, column]) if positive else 0.0
        assert found == pytest.approx(expected, abs=1e-12)


@given(st.data())
def test_weighted_average_precision_is_that_of_repeated_samples(data):
    scores = data.draw(arrays(np.float32, (6, 2), elements=TIED))
    targets = data.draw(arrays(np.int64, (6, 2), elements=st.integers(0, 1)))
    counts = data.draw(arrays(np.int64, (3, 6), elements=st.integers(0, 3)).filter(lambda c: c.sum(1).all()))
    found = average_precisions(scores, targets, weights=counts)
    for row, taken in zip(found, counts, strict=True):
        repeated = np.repeat(np.arange(6), taken)
        np.testing.assert_allclose(row, average_precisions(scores[repeated], targets[repeated]), atol=1e-12)


@given(st.data())
@settings(max_examples=50)
def test_retrieval_ranks_equal_a_full_sort(data):
    """Coordinates are signs, so every norm is the same and every score exact: ties are real ties."""
    images, dim = data.draw(st.integers(1, 6)), 4
    signs = st.sampled_from([-1.0, 1.0])
    owner = np.sort(
        np.concatenate([np.arange(images), data.draw(arrays(np.int64, 3, elements=st.integers(0, images - 1)))])
    )
    pictures = data.draw(arrays(np.float32, (images, dim), elements=signs))
    captions = data.draw(arrays(np.float32, (len(owner), dim), elements=signs))
    scores = captions @ pictures.T
    found = retrieval_ranks(pictures, captions, owner, at_once=data.draw(st.sampled_from([1, 5, 1000])))
    by_caption = np.argsort(-scores, axis=1, kind="stable")
    np.testing.assert_array_equal(found.of_images, np.argmax(by_caption == owner[:, None], axis=1))
    by_image = owner[np.argsort(-scores.T, axis=1, kind="stable")]
    np.testing.assert_array_equal(found.of_texts, np.argmax(by_image == np.arange(images)[:, None], axis=1))


def test_one_product_ranks_ties_as_two_do(monkeypatch):
    """Few directions, so that most scores are tied with others, before and behind them and in other blocks."""
    random = np.random.default_rng(1)
    pictures = random.choice([-1.0, 1.0], (40, 4)).astype(np.float32)
    captions, owner = random.choice([-1.0, 1.0], (90, 4)).astype(np.float32), np.arange(90) % 40
    monkeypatch.setattr(ranks_module, "COUNTED", 1)
    monkeypatch.setattr(ranks_module, "LEAST_ROWS", 7)
    one, two = (retrieval_ranks(pictures, captions, owner, at_once=at_once) for at_once in (3600, 3599))
    order = np.argsort(-(captions @ pictures.T), axis=1, kind="stable")
    np.testing.assert_array_equal(one.of_images, np.argmax(order == owner[:, None], axis=1))
    np.testing.assert_array_equal(one.of_images, two.of_images)
    np.testing.assert_array_equal(one.of_captions, two.of_captions)


def test_retrieval_does_not_depend_on_the_block_or_on_scale():
    random = np.random.default_rng(0)
    pictures, owner = random.normal(size=(300, 24)).astype(np.float32), np.arange(900) // 3
    captions = (pictures[owner] + 2 * random.normal(size=(900, 24))).astype(np.float32)
    whole = retrieval_ranks(pictures, captions, owner)
    for at_once in (1_000, 50_000):
        blocked = retrieval_ranks(7 * pictures, 0.01 * captions, owner, at_once=at_once)
        np.testing.assert_array_equal(blocked.of_images, whole.of_images)
        np.testing.assert_array_equal(blocked.of_texts, whole.of_texts)
    assert 0.05 < whole.metrics()["image_retrieval_recall@1"] < 0.95
    assert whole.metrics((300, 1000))["image_retrieval_recall@300"] == 1.0


@pytest.mark.parametrize("ignore", [255, 0])
def test_segmentation_equals_torchmetrics(ignore):
    torchmetrics = pytest.importorskip("torchmetrics")
    random = np.random.default_rng(1)
    target = random.integers(0, 5, (3, 16, 12))
    target[random.random(target.shape) < 0.1] = ignore
    prediction = np.where(random.random(target.shape) < 0.6, target, random.integers(0, 5, target.shape))
    prediction[prediction == 255] = 2
    found = segmentation_metrics(prediction, target, classes=5, ignore=ignore)
    for average, value in (("none", found["iou"]), ("macro", found["miou"])):
        measure = torchmetrics.classification.MulticlassJaccardIndex(5, average=average, ignore_index=ignore)
        expected = measure(torch.from_numpy(prediction), torch.from_numpy(target)).numpy()
        present = np.ones(5, dtype=bool)
        present[[ignore] if ignore < 5 else []] = False
        if average == "none":
            np.testing.assert_allclose(value[present], expected[present], atol=1e-6)
        elif ignore == 255:
            assert value == pytest.approx(float(expected), abs=1e-6)


def test_segmentation_takes_maps_of_different_sizes_and_weights_images():
    random = np.random.default_rng(2)
    truth = [random.integers(0, 3, size) for size in ((4, 6), (5, 5), (2, 9))]
    guess = [random.integers(0, 3, one.shape) for one in truth]
    areas = segmentation_areas(guess, truth, classes=3)
    flat = segmentation_metrics(
        np.concatenate([g.ravel() for g in guess])[None, None],
        np.concatenate([t.ravel() for t in truth])[None, None],
        classes=3,
    )
    np.testing.assert_allclose(areas.iou(), flat["iou"], atol=1e-12)
    only_second = areas.iou(np.array([[0, 1, 0]]))[0]
    np.testing.assert_allclose(only_second, segmentation_metrics(guess[1], truth[1], classes=3)["iou"])


def test_half_precision_and_read_only_rows_are_taken():
    random = np.random.default_rng(3)
    rows = random.normal(size=(20, 8)).astype(np.float16)
    rows.setflags(write=False)
    assert retrieval_metrics(rows, rows, np.arange(20), ks=[1]) == {
        "image_retrieval_recall@1": 1.0,
        "text_retrieval_recall@1": 1.0,
    }
    bfloat = torch.from_numpy(rows.astype(np.float32)).bfloat16()
    assert classification_metrics(bfloat, torch.zeros(20, dtype=torch.long))["acc5"] <= 1


def test_what_a_sample_was_is_kept_in_order():
    found = predict(np.array([[0.1, 0.9, 0.0], [0.5, 0.2, 0.3]]), np.array([1, 2]))
    assert found.hits(1).tolist() == [True, False]
    assert found.ranks.tolist() == [0, 1]
    assert found.top.tolist() == [[1, 0, 2], [0, 2, 1]]
    assert found.class_sizes().tolist() == [0, 1, 1]
    np.testing.assert_array_equal(found.class_recalls(), [np.nan, 1.0, 0.0])


NAN_ROW = np.array([[0.0, 1.0], [np.nan, 1.0]])
ZERO_ROW = np.array([[1.0, 1.0], [0.0, 0.0]], dtype=np.float32)
EYE = np.eye(2, dtype=np.float32)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: classification_metrics(NAN_ROW, [0, 1]), r"1 of 2 rows hold a NaN.*row 1"),
        (lambda: classification_metrics(EYE, np.array([0, 2])), r"class list of 2 names.*row 1 with label 2"),
        (lambda: classification_metrics(EYE, np.array([0])), r"2 rows of scores but 1 labels"),
        (lambda: classification_metrics(np.zeros((0, 3)), np.zeros(0, dtype=int)), r"no sample to classify"),
        (lambda: classify(ZERO_ROW, EYE, np.array([0, 1]), at_once=1), r"image embeddings.*row 1 with norm 0"),
        (lambda: class_vectors(ZERO_ROW[:, None]), r"prompt embeddings.*first row 1"),
        (lambda: class_vectors(np.array([[[1.0, 0], [-1, 0]]])), r"class vectors.*row 0"),
        (lambda: retrieval_metrics(EYE, EYE, np.array([0, 0])), r"1 of 2 images have no caption, first image 1"),
        (lambda: retrieval_metrics(EYE, EYE, np.array([0, 5])), r"Caption 1 points to image 5"),
        (lambda: retrieval_metrics(EYE, np.ones((2, 3)), np.array([0, 1])), r"2 dimensions and captions 3"),
        (lambda: retrieval_metrics(EYE, EYE, np.array([0])), r"1 entries of image_of_text"),
        (lambda: multilabel_metrics(EYE, 2 * EYE), r"must be 0 or 1"),
        (lambda: segmentation_metrics(EYE, EYE * 7, classes=2), r"Map 0: 2 true pixels.*for instance 7"),
        (lambda: segmentation_metrics(EYE * 255, EYE, classes=2), r"2 predicted pixels.*for instance 255"),
        (lambda: segmentation_metrics([EYE], [np.zeros((3, 3))], classes=2), r"\(2, 2\) and true \(3, 3\)"),
        (lambda: segmentation_metrics([EYE], [EYE, EYE], classes=2), r"1 predicted maps and 2 true"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(StructureError, match=f"(?s){words}"):
        call()


def test_wrong_shapes_are_the_callers_mistake():
    with pytest.raises(ValueError, match="multilabel_metrics"):
        classification_metrics(EYE, EYE.astype(int))
    with pytest.raises(ValueError, match="same shape"):
        multilabel_metrics(EYE, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="class, template, dim"):
        class_vectors(EYE)
