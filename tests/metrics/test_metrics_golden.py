"""Every array of the golden file zero_shot.npz, from NumPy arrays and from tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from structure.pipeline.metrics.average_precision import average_precisions
from structure.pipeline.metrics.clip_benchmark_metrics import (
    classification_metrics,
    multilabel_metrics,
    retrieval_metrics,
    segmentation_metrics,
)
from structure.pipeline.metrics.confusion_areas import confusion_matrix, segmentation_areas
from structure.pipeline.metrics.predictions import classify
from structure.pipeline.metrics.zero_shot_classifier import class_logits, class_vectors, class_vectors_of


@pytest.fixture(scope="module")
def zero_shot(golden: Path) -> dict[str, np.ndarray]:
    with np.load(golden / "zero_shot.npz") as arrays:
        return dict(arrays)


@pytest.fixture(params=[np.asarray, torch.from_numpy], ids=["numpy", "tensor"])
def kind(request: pytest.FixtureRequest) -> Callable[[np.ndarray], Any]:
    return request.param


def test_class_vectors_equal_the_golden_classifier(zero_shot, kind):
    vectors = class_vectors(kind(zero_shot["cls_text_embeddings"]))
    np.testing.assert_allclose(vectors.numpy(), zero_shot["cls_classifier"], atol=1e-6)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_class_vectors_from_blocks(zero_shot, kind, rows):
    prompts = zero_shot["cls_text_embeddings"]
    classes, templates, dim = prompts.shape
    flat = kind(prompts.reshape(-1, dim))
    blocks = [flat[start : start + rows] for start in range(0, len(flat), rows)]
    found = class_vectors_of(blocks, [templates] * classes)
    np.testing.assert_allclose(found.numpy(), zero_shot["cls_classifier"], atol=1e-6)
    for counts in ([templates] * (classes - 1), [templates] * (classes + 1)):
        with pytest.raises(ValueError, match=f"{classes * templates} rows|rows of prompts came"):
            class_vectors_of(blocks, counts)


@pytest.mark.parametrize(("labels", "name"), [("cls_labels", "cls"), ("cls_labels_absent_class", "cls_absent")])
def test_classification(zero_shot, kind, labels, name):
    images, truth = kind(zero_shot["cls_image_embeddings"]), kind(zero_shot[labels])
    vectors = class_vectors(kind(zero_shot["cls_text_embeddings"]))
    expected = {metric: float(zero_shot[f"{name}_{metric}"]) for metric in ("acc1", "acc5", "mean_per_class_recall")}
    assert classification_metrics(class_logits(images, vectors), truth) == pytest.approx(expected, abs=1e-9)
    assert classify(images, vectors, truth, at_once=100).metrics() == pytest.approx(expected, abs=1e-9)


def test_below_five_classes_acc5_is_nan(zero_shot, kind):
    few = zero_shot["cls_labels"] < 4
    vectors = class_vectors(kind(zero_shot["cls_text_embeddings"][:4]))
    images, truth = kind(zero_shot["cls_image_embeddings"][few]), kind(zero_shot["cls_labels"][few])
    found = classification_metrics(class_logits(images, vectors), truth)
    assert np.isnan(found["acc5"])
    assert np.isnan(zero_shot["cls_first4_acc5"])
    assert found["acc1"] == pytest.approx(float(zero_shot["cls_first4_acc1"]), abs=1e-9)
    recall = float(zero_shot["cls_first4_mean_per_class_recall"])
    assert found["mean_per_class_recall"] == pytest.approx(recall, abs=1e-9)


def test_retrieval(zero_shot, kind):
    ks = tuple(int(k) for k in zero_shot["ret_k"])
    names = ("ret_image_embeddings", "ret_caption_embeddings", "ret_caption_to_image")
    found = retrieval_metrics(*(kind(zero_shot[name]) for name in names), ks=ks)
    for place, k in enumerate(ks):
        for side in ("image", "text"):
            expected = zero_shot[f"ret_{side}_retrieval_recall"][place]
            assert found[f"{side}_retrieval_recall@{k}"] == pytest.approx(expected, abs=1e-9)


def test_multilabel(zero_shot, kind):
    scores, targets = kind(zero_shot["ml_scores"]), kind(zero_shot["ml_targets"])
    np.testing.assert_allclose(average_precisions(scores, targets), zero_shot["ml_average_precision"], atol=1e-9)
    found = multilabel_metrics(scores, targets)["mean_average_precision"]
    assert found == pytest.approx(float(zero_shot["ml_mean_average_precision"]), abs=1e-9)


def test_segmentation(zero_shot, kind):
    prediction, target = kind(zero_shot["seg_prediction"]), kind(zero_shot["seg_target"])
    classes = int(zero_shot["seg_num_classes"])
    matrix = confusion_matrix(prediction, target, classes=classes)
    np.testing.assert_array_equal(matrix, zero_shot["seg_confusion"])
    found = segmentation_metrics(prediction, target, classes=classes)
    np.testing.assert_allclose(found["iou"], zero_shot["seg_iou"], atol=1e-12)
    assert found["miou"] == pytest.approx(float(zero_shot["seg_miou"]), abs=1e-12)
    areas = segmentation_areas(prediction, target, classes=classes)
    assert float(areas.miou(without=[0])) == pytest.approx(float(zero_shot["seg_miou_without_class0"]), abs=1e-12)
    assert areas.pixel_accuracy() == pytest.approx(float(zero_shot["seg_pixel_accuracy"]), abs=1e-12)
