"""What more pairs would bring: the learning curve, where it goes, and what the table in the package says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.methods.kernel_csa import KernelCsa, KernelCsaOptions
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.forecast import learning_curve as module
from structure.pipeline.forecast.extrapolation import extrapolate
from structure.pipeline.forecast.forecast import PAIRS, forecast_of
from structure.pipeline.forecast.kernel_csa_recall import (
    METHOD,
    USUAL,
    cosines_of,
    held_out_embeddings,
    held_out_recall,
)
from structure.pipeline.forecast.learning_curve import (
    CurvePoint,
    LearningCurve,
    measure_curve,
    training_sizes,
)
from structure.pipeline.forecast.similarity_recall import similarity_table, subset_similarity
from structure.pipeline.model_selection.criterion import pair_values


def pairs(rows: int, *, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of two layers that share 12 directions."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=(rows, 12))
    first, second = (shared @ random.normal(size=(12, 24)) + noise * random.normal(size=(rows, 24)) for _ in range(2))
    return first.astype(np.float32), second.astype(np.float32)


def straight(sizes: tuple[int, ...], *, noise: float = 0.0) -> LearningCurve:
    """Logits of recall that grow by 0.5 where the number of pairs grows by e."""
    spread = noise * np.array([-1.0, 0.0, 1.0])
    recalls = (1 / (1 + np.exp(-(0.5 * np.log(size) - 2.5 + spread))) for size in sizes)
    return LearningCurve(tuple(CurvePoint(size, each) for size, each in zip(sizes, recalls, strict=True)), 200)


def test_a_straight_curve_goes_on_straight() -> None:
    found = extrapolate(straight((50, 100, 200, 400)), (100, 1000, 10_000))
    assert [point.is_measured for point in found] == [True, False, False]
    for point in found:
        assert np.log(point.value / (1 - point.value)) == pytest.approx(0.5 * np.log(point.pairs) - 2.5)
        assert point.low <= point.value <= point.high
    widths = [point.high - point.low for point in found]
    assert widths[0] == pytest.approx(0, abs=1e-9)  # fits that agree
    assert 0.03 < widths[1] < widths[2]  # but how the curve bends is not known


def test_fits_that_disagree_widen_every_interval() -> None:
    calm, noisy = (extrapolate(straight((50, 100, 200), noise=noise), PAIRS) for noise in (0.1, 0.4))
    assert all(two.low < one.low and one.high < two.high for one, two in zip(calm, noisy, strict=True))
    assert calm[0].value == pytest.approx(noisy[0].value, abs=0.02)


def test_fits_side_by_side_give_the_same_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    vision, text = pairs(120, noise=3.0)
    curves = []
    for cores in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda cores=cores: cores)
        told: list[int] = []
        curves.append(measure_curve(vision, text, np.arange(120), seed=3, on_fit=told.append))
        assert told == list(range(1, len(training_sizes(120)) + 1))
    one, three = ([point.recalls.tolist() for point in curve.points] for curve in curves)
    assert one == three


def test_a_curve_keeps_groups_on_one_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fit trains on other groups than it is tested on, a fold's held-out pairs are the same for every size, and
    smaller subsets are part of larger ones."""
    vision, text = pairs(150, noise=3.0)
    groups = np.arange(150) // 3
    trained: list[set[int]] = []
    tested: list[frozenset[int]] = []
    true = module.held_out_recall

    def recall(cosines: Any, rows: np.ndarray, test: np.ndarray, *, k: int) -> float:
        trained.append(set(rows.tolist()))
        tested.append(frozenset(test.tolist()))
        return true(cosines, rows, test, k=k)

    monkeypatch.setattr(module, "held_out_recall", recall)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # a fit after the other: they are told by their order
    curve = measure_curve(vision, text, groups, seed=3)
    assert len(set(tested)) == module.FOLDS
    for own, test in zip(trained, tested, strict=True):
        assert not set(groups[list(own)]) & set(groups[list(test)])
    for test in set(tested):
        own = sorted((one for one, held in zip(trained, tested, strict=True) if held == test), key=len)
        assert own[0] < own[-1]
    assert [point.pairs for point in curve.points] == [30, 50, 70, 99]  # as many as whole groups allow
    assert curve.points[-1].recall > curve.points[0].recall
    assert len(trained) == len(training_sizes(150))


@pytest.mark.parametrize("dim", [20, 512])
def test_a_fit_embeds_as_the_heads_of_its_method(dim: int) -> None:
    """Also where rows repeat, so that the kernel has no full rank, and where a side has a common offset."""
    vision, text = pairs(200, noise=2.0)
    vision, text[1:60:2] = vision + 5, text[:60:2]
    random = np.random.default_rng(0)
    rows, test = np.split(random.permutation(200), [110])
    options = KernelCsaOptions(method=METHOD, dim=dim, ridge=0.5, device="cpu")
    heads = KernelCsa().solve(TrainingData(vision[rows], text[rows]), options).heads
    aligner = Aligner(*heads, METHOD)
    expected = aligner.embed_images(vision[test]) @ aligner.embed_texts(text[test]).T
    cosines = cosines_of(vision, text)
    images, texts = held_out_embeddings(cosines, rows, test, options=options)
    np.testing.assert_allclose((images @ texts.T).numpy(), expected, atol=2e-5)
    aligner = Aligner(*KernelCsa().solve(TrainingData(vision[rows], text[rows]), USUAL).heads, METHOD)
    recall = pair_values(aligner, vision[test], text[test], select="R@10").mean()
    assert 0.2 < held_out_recall(cosines, rows, test, k=10) < 0.9
    assert held_out_recall(cosines, rows, test, k=10) == pytest.approx(recall, abs=1 / len(test))


def test_a_fit_to_rows_that_are_all_the_same_says_nothing() -> None:
    vision, text = pairs(60, noise=0.1)
    rows, test = np.arange(30), np.arange(30, 60)
    told = held_out_recall(cosines_of(vision, text), rows, test, k=1)
    vision[:30] = vision[0]
    assert held_out_recall(cosines_of(vision, text), rows, test, k=1) < 0.3 < told


def test_equal_cosines_are_ordered_by_index() -> None:
    """Held-out rows that repeat: each of three equal ones stands behind those before it."""
    vision, text = pairs(90, noise=0.01)
    vision[60:], text[60:] = np.repeat(vision[60:70], 3, axis=0), np.repeat(text[60:70], 3, axis=0)
    cosines = cosines_of(vision, text)
    found = [held_out_recall(cosines, np.arange(60), np.arange(60, 90), k=k) for k in (1, 2, 3)]
    assert found == pytest.approx([1 / 3, 2 / 3, 1])


def test_a_forecast_tells_what_was_measured_and_what_was_not() -> None:
    vision, text = pairs(330, noise=1.0)
    told = forecast_of(vision, text, np.arange(330), layers=("a", "b"), seed=1).to_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["gallery"] == 110
    assert told["chance"] == pytest.approx(10 / 110)
    assert [point["pairs"] for point in told["points"]] == list(PAIRS)
    assert [point["measured"] for point in told["points"]] == [True, False, False, False, False]
    curve = {point["pairs"]: point["value"] for point in told["curve"]}
    assert told["points"][0]["value"] == pytest.approx(curve[100], abs=0.02)
    assert "(measured)" in told["sentences"][0]
    assert "(extrapolated from 220)" in told["sentences"][0]
    assert "sets are few" in told["sentences"][1]
    again = forecast_of(vision, text, np.arange(330), layers=("a", "b"), seed=1).to_dict()
    assert again == told


def test_more_pairs_land_in_the_interval() -> None:
    vision, text = pairs(1000, noise=3.0)
    curve = measure_curve(vision[:240], text[:240], np.arange(240), seed=0)
    (expected,) = extrapolate(curve, (600,))
    reached = held_out_recall(cosines_of(vision, text), np.arange(240, 840), np.arange(840, 840 + curve.gallery), k=10)
    assert expected.low < reached < expected.high
    assert expected.high - expected.low < 0.4


def test_the_table_in_the_package() -> None:
    """Its line has the slope of the points, and each set lies in the interval of the others more often than not."""
    table = similarity_table()
    assert len(table.sets) >= 3
    assert table.predict(0.2).value > table.predict(0.1).value
    inside = [
        (said := table.predict(pair.similarity)).low < pair.recall < said.high
        for each in table.sets
        for pair in each.layers
    ]
    assert np.mean(inside) > 0.8
    vision, text = pairs(300, noise=0.2)
    similar, shuffled = (subset_similarity(vision, side, seed=0) for side in (text, text[::-1].copy()))
    assert similar is not None
    assert shuffled is not None
    assert similar > 0.3 > 0.15 > shuffled
    assert subset_similarity(vision[:50], text[:50], seed=0) is None
