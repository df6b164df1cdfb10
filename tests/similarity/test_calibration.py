"""The null is what chance gives, the choice is told with its doubt, constant layers do not win."""

from __future__ import annotations

import numpy as np
import pytest

from structure.pipeline.similarity.calibration import bootstrap, calibrate, permutation_null, stability
from structure.pipeline.similarity.neighbours import search
from structure.pipeline.similarity.overlap import shared_counts
from structure.pipeline.similarity.score import layer_similarity
from structure.store.errors import StructureError

ROWS, K = 150, 12


def noisy(noise: list[float], seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    latent = np.random.default_rng(5).normal(size=(ROWS, 5))
    return [latent @ random.normal(size=(5, 16)) + level * random.normal(size=(ROWS, 16)) for level in noise]


@pytest.fixture(scope="module")
def related() -> tuple[list[np.ndarray], list[np.ndarray]]:
    return noisy([4.0, 0.5, 2.0], 1), noisy([3.0, 2.0, 0.4, 5.0], 2)


def test_related_layers(related: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    tables = [[search(layer, k=K) for layer in side] for side in related]
    found = calibrate(*tables, draws=99, seed=3)
    np.testing.assert_allclose(found.scores, layer_similarity(*related, k=K))
    assert found.best == (1, 2)
    assert found.runner_up is not None
    assert found.runner_up != found.best
    assert found.p_values[1, 2] == pytest.approx(0.01)  # never zero: (1 + 0) / (1 + 99)
    assert found.calibrated[1, 2] == pytest.approx((found.scores[1, 2] - found.threshold) / (1 - found.threshold))
    assert found.interval.low < found.scores[1, 2] < found.interval.high
    assert found.margin is not None
    assert found.margin.value == pytest.approx(found.scores[1, 2] - found.scores[found.runner_up])
    again = calibrate(*tables, draws=99, seed=3)
    np.testing.assert_array_equal(found.null, again.null)


def test_unrelated_layers_are_not_significant() -> None:
    random = np.random.default_rng(7)
    ours, theirs = ([search(random.normal(size=(ROWS, 16)), k=K) for _ in range(4)] for _ in range(2))
    found = calibrate(ours, theirs, draws=199, seed=0)
    assert found.p_values.min() > 0.02
    assert found.scores.max() > K / (ROWS - 1)  # the largest of 16 is above chance: that is why it is calibrated
    assert abs(found.null.mean() - found.scores.max()) < 0.03
    assert (found.calibrated < 0.02).all()


def test_permuting_tables_is_permuting_rows() -> None:
    """The relabelled tables are those of the shuffled features."""
    ours, theirs = noisy([0.5], 1)[0], noisy([0.5], 2)[0]
    v, t = (search(layer, k=K).table[None] for layer in (ours, theirs))
    null = permutation_null(v, t, draws=3, seed=11)
    random = np.random.default_rng(11)
    for draw in range(3):
        order = random.permutation(ROWS)
        shuffled = np.empty_like(theirs)
        shuffled[order] = theirs
        assert null[draw] == pytest.approx(layer_similarity([ours], [shuffled], k=K)[0, 0])


def test_constant_layers_neither_win_nor_count(related: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    flat = np.ones((ROWS, 16))
    vision, text = ([search(layer, k=K) for layer in [flat, *side]] for side in related)
    found = calibrate(vision, text, draws=50)
    assert found.scores[0, 0] == 1.0  # two constant layers agree on everything and say nothing
    assert found.best == (2, 3)
    assert not found.informative[0].any()
    assert not found.informative[:, 0].any()
    assert found.calibrated[0, 0] == 0.0
    assert found.p_values[0, 0] == 1.0
    assert found.null.max() < 0.5
    with pytest.raises(StructureError, match="vision layer is constant"):
        calibrate(vision[:1], text)


def test_bootstrap_equals_resampling(related: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    values = shared_counts(*(search(side[1], k=K).table for side in related)) / K
    found = bootstrap(values, draws=4000)
    random = np.random.default_rng(1)
    means = values[random.integers(0, ROWS, (4000, ROWS))].mean(axis=1)
    np.testing.assert_allclose((found.low, found.high), np.quantile(means, [0.025, 0.975]), atol=0.004)
    assert found.value == pytest.approx(values.mean())


def test_stability(related: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    found = stability(*related, reference=(1, 2), k=10, sizes=(8, 60, 150, 5000), repeats=4)
    assert [part.size for part in found] == [60, 150]
    assert len(found[0].chosen) == 4
    assert found[0].agreement > 0.5
    assert found[1].chosen == ((1, 2),)
    whole = layer_similarity(*related, k=10)
    assert found[1].score[0] == found[1].reference_score[0] == pytest.approx(whole[1, 2])
    rice = stability(*related, reference=(1, 2), sizes=(100,), repeats=1)
    assert rice[0].k == 10
