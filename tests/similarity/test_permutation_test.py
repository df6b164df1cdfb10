"""The null is what chance gives, the choice is told with its doubt, constant layers do not win."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from structure.pipeline.similarity.knn.neighbours import Neighbours, search
from structure.pipeline.similarity.metric import ComparedLayers
from structure.pipeline.similarity.neighbour_overlap import shared_counts
from structure.pipeline.similarity.permutation_test import RankedScores, bootstrap, permutation_test
from structure.pipeline.similarity.registry import SIMILARITIES
from structure.pipeline.similarity.score import layer_similarity
from structure.pipeline.similarity.stability import draw_subsets, stability, subset_tables
from structure.store.errors import StructureError

ROWS, K = 150, 12


def noisy(noise: list[float], seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    latent = np.random.default_rng(5).normal(size=(ROWS, 5))
    return [latent @ random.normal(size=(5, 16)) + level * random.normal(size=(ROWS, 16)) for level in noise]


def ranked(
    vision: list[Neighbours], text: list[Neighbours], *, metric: str = "mutual_knn", **options: Any
) -> RankedScores:
    v, t = (np.stack([own.table for own in side]) for side in (vision, text))
    constant = [np.array([own.constant for own in side]) for side in (vision, text)]
    return permutation_test(
        SIMILARITIES[metric](ComparedLayers(tables=(v, t))), constant=(constant[0], constant[1]), **options
    )


@pytest.fixture(scope="module")
def related() -> tuple[list[np.ndarray], list[np.ndarray]]:
    return noisy([4.0, 0.5, 2.0], 1), noisy([3.0, 2.0, 0.4, 5.0], 2)


def test_related_layers(related: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    tables = [[search(layer, k=K) for layer in side] for side in related]
    told: list[int] = []
    found = ranked(*tables, draws=99, seed=3, on_draw=told.append)
    assert told == list(range(1, 100))
    np.testing.assert_allclose(found.scores, layer_similarity(*related, k=K))
    assert found.best == (1, 2)
    assert found.runner_up is not None
    assert found.runner_up != found.best
    null = found.null
    assert null is not None
    assert null.p_values[1, 2] == pytest.approx(0.01)  # never zero: (1 + 0) / (1 + 99)
    assert null.adjusted[1, 2] == pytest.approx((found.scores[1, 2] - null.threshold) / (1 - null.threshold))
    assert found.interval is not None
    assert found.interval.low < found.scores[1, 2] < found.interval.high
    assert found.margin is not None
    assert found.margin.value == pytest.approx(found.scores[1, 2] - found.scores[found.runner_up])
    again = ranked(*tables, draws=99, seed=3).null
    assert again is not None
    np.testing.assert_array_equal(null.largest, again.largest)
    assert ranked(*tables, draws=0).null is None


def test_unrelated_layers_are_not_significant() -> None:
    random = np.random.default_rng(7)
    ours, theirs = ([search(random.normal(size=(ROWS, 16)), k=K) for _ in range(4)] for _ in range(2))
    found = ranked(ours, theirs, draws=199, seed=0)
    assert found.null is not None
    assert found.null.p_values.min() > 0.02
    assert found.scores.max() > K / (ROWS - 1)  # the largest of 16 is above chance: that is why it is tested
    assert abs(found.null.largest.mean() - found.scores.max()) < 0.03
    assert (found.null.adjusted < 0.02).all()


@pytest.mark.parametrize("metric", SIMILARITIES)
def test_permuted_scores_are_those_of_shuffled_rows(
    metric: str, related: tuple[list[np.ndarray], list[np.ndarray]]
) -> None:
    """Tables are renamed and kernels permuted; the features, shuffled, would have given the same."""
    ours, theirs = related[0][:2], related[1][:3]
    tables = None
    if SIMILARITIES[metric].needs_neighbours:
        v, t = (np.stack([search(layer, k=K).table for layer in side]) for side in (ours, theirs))
        tables = v, t
    measure = SIMILARITIES[metric](ComparedLayers(ours, theirs, tables))
    order = np.random.default_rng(11).permutation(ROWS)
    shuffled = [np.empty_like(layer) for layer in theirs]
    for moved, layer in zip(shuffled, theirs, strict=True):
        moved[order] = layer
    expected = layer_similarity(ours, shuffled, metric=metric, k=K)
    np.testing.assert_allclose(measure.scores(order), expected, atol=2e-6 if "cka" in metric else 1e-12)
    np.testing.assert_allclose(measure.scores(), layer_similarity(ours, theirs, metric=metric, k=K), atol=1e-12)
    np.testing.assert_allclose(measure.scores(np.arange(ROWS)), measure.scores(), atol=2e-6)
    of_rows = measure.per_row(1, 2)
    if of_rows is not None:
        assert of_rows.shape == (ROWS,)
        assert of_rows.mean() == pytest.approx(measure.scores()[1, 2])


def test_a_null_of_kernels_keeps_to_its_memory(related: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    measure = SIMILARITIES["rbf_cka"](ComparedLayers(*related, memory=1 << 16))
    assert measure.scores().shape == (3, 4)
    with pytest.raises(StructureError, match="--samples 48 or fewer"):
        measure.scores(np.arange(ROWS))


def test_constant_layers_neither_win_nor_count(related: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    flat = np.ones((ROWS, 16))
    vision, text = ([search(layer, k=K) for layer in [flat, *side]] for side in related)
    found = ranked(vision, text, draws=50)
    assert found.scores[0, 0] == 1.0  # two constant layers agree on everything and say nothing
    assert found.best == (2, 3)
    assert not found.informative[0].any()
    assert not found.informative[:, 0].any()
    assert found.null is not None
    assert found.null.adjusted[0, 0] == 0.0
    assert found.null.p_values[0, 0] == 1.0
    assert found.null.largest.max() < 0.5
    with pytest.raises(StructureError, match="vision layer is constant"):
        ranked(vision[:1], text)


def test_bootstrap_equals_resampling(related: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    values = shared_counts(*(search(side[1], k=K).table for side in related)) / K
    found = bootstrap(values, draws=4000)
    random = np.random.default_rng(1)
    means = values[random.integers(0, ROWS, (4000, ROWS))].mean(axis=1)
    np.testing.assert_allclose((found.low, found.high), np.quantile(means, [0.025, 0.975]), atol=0.004)
    assert found.value == pytest.approx(values.mean())


def test_stability(related: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    sides = [{f"block.{i}": layer for i, layer in enumerate(side)} for side in related]
    subsets = draw_subsets(ROWS, k=10, sizes=(8, 60, 100, 150, 5000), repeats=4, seed=5)
    assert [subset.size for subset in subsets] == [60] * 4 + [100] * 4  # 8 is too small for k, 150 is the ranking
    ours, theirs = (subset_tables(side, subsets) for side in sides)
    found = stability(SIMILARITIES["mutual_knn"], subsets, ours, theirs, reference=(1, 2))
    assert [part.size for part in found] == [60, 100]
    assert len(found[0].chosen) == 4
    assert found[0].agreement > 0.5
    for part, first in zip(found, (0, 4), strict=True):
        taken = subsets[first].rows
        whole = layer_similarity(*([layer[taken] for layer in side] for side in related), k=10)
        assert part.chosen[0] == np.unravel_index(whole.argmax(), whole.shape)
        assert part.score[0] == pytest.approx(whole.max())
        assert part.reference_score[0] == pytest.approx(whole[1, 2])
    assert [subset.k for subset in draw_subsets(5001, repeats=1)] == [10, 16, 20, 35]
