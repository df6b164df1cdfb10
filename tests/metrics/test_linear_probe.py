"""The linear probe against scikit-learn, and what it does with few samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from structure.pipeline.metrics import linear_probe
from structure.pipeline.metrics.linear_probe import draw_shots, fit_probe
from structure.store import StructureError


def blobs(n: int, *, classes: int = 6, dim: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    centres = np.random.default_rng(9).standard_normal((classes, dim))
    random = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    rows = centres[labels] + 2 * random.standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


@pytest.mark.parametrize("strength", [0.1, 100.0])
def test_the_fit_is_scikit_learns(strength: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, labels = blobs(240)
    monkeypatch.setattr(linear_probe, "STRENGTHS", (strength,))
    monkeypatch.setattr(linear_probe, "_AT_ONCE", 500)  # several blocks
    ours = fit_probe(rows, labels, classes=6)
    assert ours.strength == strength
    theirs = LogisticRegression(C=strength, tol=1e-8, max_iter=5000).fit(rows.astype(np.float64), labels)
    expected = theirs.coef_.T - theirs.coef_.T.mean(axis=1, keepdims=True)  # softmax leaves a common vector open
    found = ours.weight - ours.weight.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())
    fresh, truth = blobs(400, seed=1)
    ours_right = float((ours.logits(fresh).argmax(dim=1).numpy() == truth).mean())
    assert ours_right == pytest.approx(theirs.score(fresh, truth), abs=0.0051)


def test_the_penalty_is_chosen_on_rows_that_are_held_out() -> None:
    rows, labels = blobs(300)
    probe = fit_probe(rows, torch.from_numpy(labels), classes=7)  # the seventh never occurs
    assert probe.chosen
    assert probe.strength in linear_probe.STRENGTHS
    best = max(
        LogisticRegression(C=c, max_iter=5000).fit(rows, labels).score(*blobs(600, seed=2))
        for c in linear_probe.STRENGTHS
    )
    fresh, truth = blobs(600, seed=2)
    assert float((probe.logits(fresh).argmax(dim=1).numpy() == truth).mean()) > best - 0.05
    assert not fit_probe(*blobs(12), classes=6).chosen


def test_shots_are_so_many_of_every_class() -> None:
    labels = np.repeat(np.arange(5), 20)
    chosen = draw_shots(labels, 4, seed=3)
    np.testing.assert_array_equal(np.bincount(labels[chosen]), [4] * 5)
    np.testing.assert_array_equal(chosen, draw_shots(labels, 4, seed=3))
    assert (chosen != draw_shots(labels, 4, seed=4)).any()
    with pytest.raises(StructureError, match="Class 2 has 1 training samples; 4 shots"):
        draw_shots(np.array([0] * 9 + [1] * 9 + [2]), 4, seed=0)
    with pytest.raises(StructureError, match="1 class.es. occur in the 9 training rows"):
        fit_probe(blobs(9)[0], np.zeros(9, dtype=int), classes=3)
