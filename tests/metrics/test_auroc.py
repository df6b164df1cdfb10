"""AUROC of samples with several classes: the value of scikit-learn, ties, resamples, one-sided classes, each class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from structure.pipeline.metrics.roc_areas import roc_areas
from structure.pipeline.metrics.score import score_multilabel


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 6))
def test_areas_are_those_of_scikit_learn_with_ties_and_counts(seed: int, n: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    scores, targets = random.integers(0, levels, (n, 3)).astype(float), random.integers(0, 2, (n, 3))
    counts = random.integers(0, 3, (4, n))
    found = roc_areas(scores, targets, counts)
    for row, column in np.ndindex(found.shape):
        taken = np.repeat(np.arange(n), counts[row])
        truth = targets[taken, column]
        if len(set(truth.tolist())) < 2:
            assert np.isnan(found[row, column])
        else:
            assert found[row, column] == pytest.approx(roc_auc_score(truth, scores[taken, column]))


def test_a_class_without_positives_or_negatives_is_left_out_of_the_mean_and_null_by_class() -> None:
    random = np.random.default_rng(0)
    targets = random.integers(0, 2, (80, 4))
    targets[:, 1], targets[:, 2] = 0, 1
    images = random.standard_normal((80, 4)) + targets
    ids, names = [str(i) for i in range(80)], ["a", "none", "all", "b"]
    done = score_multilabel([images], np.eye(4), targets, ids=ids, classes=names)
    unit = images / np.linalg.norm(images, axis=1, keepdims=True)
    each = {name: roc_auc_score(targets[:, at], unit[:, at]) for at, name in ((0, "a"), (3, "b"))}
    assert done.intervals["auroc"].value == pytest.approx(np.mean(list(each.values())))
    assert done.intervals["auroc"].low < done.intervals["auroc"].value < done.intervals["auroc"].high
    assert done.chance["auroc"] == 0.5
    assert done.by_class is not None
    rows = {row["class"]: row for row in done.by_class.to_pylist()}
    assert [rows[name]["auroc"] for name in ("none", "all")] == [None, None]
    assert rows["none"]["positives"] == 0
    for name, area in each.items():
        assert rows[name]["auroc"] == pytest.approx(area)
        assert rows[name]["low"] < area < rows[name]["high"]


def test_it_is_undefined_where_no_class_has_both() -> None:
    done = score_multilabel([np.eye(3)], np.eye(3), np.ones((3, 3), dtype=int), ids=["a", "b", "c"])
    assert "auroc" in done.undefined
    assert "mean_average_precision" in done.intervals
