"""Every array of golden/layer_similarity.npz, from NumPy and torch inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from structure.pipeline.similarity import hsic
from structure.pipeline.similarity.cka import cka
from structure.pipeline.similarity.clamp import clamp_levels
from structure.pipeline.similarity.k_rules import k_of
from structure.pipeline.similarity.knn.neighbours import neighbours
from structure.pipeline.similarity.neighbour_overlap import cycle_knn, mutual_curve
from structure.pipeline.similarity.score import layer_similarity, mutual_knn

FORMS = {
    "numpy32": lambda x: x,
    "numpy64": lambda x: x.astype(np.float64),
    "torch32": torch.from_numpy,
    "torch64": lambda x: torch.from_numpy(x).double(),
}


@pytest.fixture(scope="module")
def fixture(golden: Path) -> dict[str, np.ndarray]:
    with np.load(golden / "layer_similarity.npz") as file:
        return dict(file)


@pytest.fixture(params=FORMS)
def layers(request: pytest.FixtureRequest, fixture: dict[str, np.ndarray]) -> tuple[list[Any], list[Any]]:
    form = FORMS[request.param]
    return [form(fixture[f"v{i}"]) for i in range(5)], [form(fixture[f"t{j}"]) for j in range(4)]


@pytest.mark.parametrize(("key", "k"), [("mutual_knn_k10", 10), ("mutual_knn_k20", 20), ("mutual_knn_rice", "rice")])
def test_mutual_knn(layers: Any, fixture: dict[str, np.ndarray], key: str, k: int | str) -> None:
    scores = layer_similarity(*layers, k=k)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, fixture[key], rtol=0, atol=1e-12)
    assert np.unravel_index(scores.argmax(), scores.shape) == tuple(fixture["best_pair"])
    assert mutual_knn(layers[0][3], layers[1][2], k=k) == pytest.approx(fixture[key][3, 2], abs=1e-12)


def test_every_k_from_one_pass(layers: Any, fixture: dict[str, np.ndarray]) -> None:
    curve = mutual_curve(*([neighbours(layer, k=20) for layer in side] for side in layers))
    for key, k in (("mutual_knn_k10", 10), ("mutual_knn_rice", int(fixture["k_rice"])), ("mutual_knn_k20", 20)):
        np.testing.assert_allclose(curve[k - 1], fixture[key], rtol=0, atol=1e-12)


@pytest.mark.parametrize("clamp", ["exact", "approx", "per_layer"])
def test_platonic_preprocessing(layers: Any, fixture: dict[str, np.ndarray], clamp: Any) -> None:
    scores = layer_similarity(*layers, k=10, clamp=clamp)
    np.testing.assert_allclose(scores, fixture[f"platonic_mutual_knn_k10_{clamp}"], rtol=0, atol=1e-12)
    levels = [clamp_levels(side, clamp) for side in layers]
    if clamp == "per_layer":
        np.testing.assert_allclose(levels[0], fixture["platonic_clip_per_layer_v"], rtol=1e-6)
        np.testing.assert_allclose(levels[1], fixture["platonic_clip_per_layer_t"], rtol=1e-6)
    else:
        np.testing.assert_allclose([side[0] for side in levels], fixture[f"platonic_clip_{clamp}"], rtol=1e-5)


@pytest.mark.parametrize("metric", ["cka", "unbiased_cka", "cknna"])
@pytest.mark.parametrize("eps", [1e-6, 0.0])
def test_cka_family(layers: Any, fixture: dict[str, np.ndarray], metric: str, eps: float) -> None:
    key = f"{metric}{'_k10' if metric == 'cknna' else ''}{'' if eps else '_noeps'}"
    np.testing.assert_allclose(layer_similarity(*layers, metric=metric, k=10, eps=eps), fixture[key], rtol=0, atol=1e-8)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("cheaper", ["moments", "gram"])
def test_both_forms_of_linear_cka(
    layers: Any, fixture: dict[str, np.ndarray], unbiased: bool, cheaper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("structure.pipeline.similarity.cka._gram_is_cheaper", lambda *_: cheaper == "gram")
    monkeypatch.setattr(hsic, "_ROWS", 150)
    key = "unbiased_cka" if unbiased else "cka"
    small = 1 << 19  # several groups of moments, several bands of Gram matrices
    np.testing.assert_allclose(cka(*layers, unbiased=unbiased, memory=small), fixture[key], rtol=0, atol=1e-8)
    raw = cka(*layers, unbiased=unbiased, eps=0.0, normalise=False, memory=small)
    np.testing.assert_allclose(raw, fixture[f"{key}_raw_noeps"], rtol=0, atol=1e-8)


def test_cycles(layers: Any, fixture: dict[str, np.ndarray]) -> None:
    vision, text = (np.stack([neighbours(layer, k=10) for layer in side]) for side in layers)
    np.testing.assert_allclose(cycle_knn(vision, text), fixture["cycle_knn_k10_vt"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(cycle_knn(vision, text, back="text"), fixture["cycle_knn_k10_tv"], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(layer_similarity(*layers, metric="cycle-knn", k=10), cycle_knn(vision, text))


def test_rules(fixture: dict[str, np.ndarray]) -> None:
    assert [k_of("rice", int(n)) for n in fixture["rice_rule_n"]] == fixture["rice_rule_k"].tolist()
    assert k_of("rice", 400) == fixture["k_rice"]
