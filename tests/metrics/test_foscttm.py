"""FOSCTTM against the golden values of SCOT's code and against counting by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from structure.pipeline import foscttm
from structure.pipeline.metrics.registry import metric_named
from structure.pipeline.metrics.score import score_retrieval
from structure.store import StructureError

CASES = ("noisy", "perfect", "chance", "int_ties", "int_constant", "int_hand")


@pytest.mark.parametrize("case", CASES)
def test_golden(golden: Path, case: str) -> None:
    file = np.load(golden / "foscttm.npz")
    x, y = file[f"{case}_X"], file[f"{case}_Y"]
    for metric in ("euclidean", "cosine"):
        if f"{case}_{metric}" in file:
            for ties, name in (("strict", f"{case}_{metric}"), ("half", f"{case}_{metric}_halftie")):
                assert foscttm(x, y, metric=metric, ties=ties) == pytest.approx(float(file[name]), abs=1e-12)  # type: ignore[arg-type]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    ties, apart = random.integers(0, 3, (2, 60, 3)), random.standard_normal((2, 60, 3))

    def both() -> tuple[float, float]:
        return foscttm(*ties, metric="euclidean", ties="half"), foscttm(*apart)

    whole = both()
    monkeypatch.setattr("structure.pipeline.metrics.foscttm.SCORES_AT_ONCE", 100)
    assert both() == whole


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(StructureError, match=r"x is \(3, 2\), y is \(4, 2\)"):
        foscttm(np.ones((3, 2)), np.ones((4, 2)))
    with pytest.raises(StructureError, match="at least two"):
        foscttm(np.ones((1, 2)), np.ones((1, 2)))


@pytest.mark.parametrize("captions", [1, 3])
def test_the_metrics_of_an_evaluation_are_the_function(captions: int) -> None:
    """With one caption an image both directions average to it; with more, wrong captions before the first right one."""
    random, images = np.random.default_rng(0), 30
    x = random.standard_normal((images, 8))
    owner = np.repeat(np.arange(images), captions)
    y = x[owner] + 2 * random.standard_normal((len(owner), 8))
    names = ("image_retrieval_foscttm", "text_retrieval_foscttm")
    done = score_retrieval(
        x,
        y,
        owner,
        image_ids=[str(i) for i in range(images)],
        text_ids=[str(i) for i in range(len(owner))],
        metrics=[metric_named(name) for name in names],
    )
    found = done.metrics()
    if captions == 1:
        assert np.mean([found[name] for name in names]) == pytest.approx(foscttm(x, y), abs=1e-12)
        return
    scores = (x / np.linalg.norm(x, axis=1)[:, None]) @ (y / np.linalg.norm(y, axis=1)[:, None]).T
    best = np.where(owner == np.arange(images)[:, None], scores, -2).max(axis=1)
    before = [(scores[i, owner != i] > best[i]).mean() for i in range(images)]
    assert found["text_retrieval_foscttm"] == pytest.approx(np.mean(before), abs=1e-12)
    assert done.chance["text_retrieval_foscttm"] == pytest.approx(0.25)
