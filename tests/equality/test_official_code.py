"""Scores of other projects' own code, and those of this one from the same input.

`official.npz` holds inputs, and outputs of the named functions run unchanged (PyTorch on one CPU thread):

- minyoungg/platonic-rep@07ef02a, `metrics.py`, in float64: every metric of 2 x 2 layers, 10 neighbours;
- calibrated-similarity 0.1.1, `calibrate_layers` of its mutual kNN@5, with `permutations` handed in: (score, p-value,
  threshold);
- noranta4/ASIF@c5378b1, `relreps.py`, `zero_shot_classification` in float32: 60 pairs, the nearest 16, exponent 8;
- UTAustin-SwarmLab/Multi-modal-Data-Alignment@bbfc2f4, `NormalizedCCA` over cca-zoo 4.0.1 (4 dimensions, 90 pairs) and
  `weighted_corr_sim`, in float64.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from structure.pipeline.aligners.csa_solver import fit_csa
from structure.pipeline.aligners.heads.closed_heads import RelativeHead
from structure.pipeline.aligners.heads.vector_heads import GatedHead
from structure.pipeline.similarity.knn.neighbours import search
from structure.pipeline.similarity.metric import ComparedLayers
from structure.pipeline.similarity.permutation_test import largest_permuted, null_of
from structure.pipeline.similarity.registry import SIMILARITIES
from structure.pipeline.similarity.score import layer_similarity


@pytest.fixture(scope="module")
def official() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).with_name("official.npz")) as file:
        return dict(file)


def layers(official: dict[str, np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return list(official["vision"].astype(np.float64)), list(official["text"].astype(np.float64))


@pytest.mark.parametrize(
    ("metric", "tolerance"),
    [
        ("mutual_knn", 1e-7),  # their means are float32
        ("cycle_knn", 1e-7),
        ("edit_distance_knn", 1e-12),
        ("cka", 1e-12),
        ("unbiased_cka", 1e-12),
        ("rbf_cka", 1e-12),
        ("unbiased_rbf_cka", 1e-12),
        ("cknna", 1e-12),
    ],
)
def test_platonic_metrics(official: dict[str, np.ndarray], metric: str, tolerance: float) -> None:
    found = layer_similarity(*layers(official), metric=metric, k=10)
    np.testing.assert_allclose(found, official[metric], rtol=0, atol=tolerance)


def test_platonic_lcs_is_a_length_and_ours_a_share(official: dict[str, np.ndarray]) -> None:
    found = layer_similarity(*layers(official), metric="lcs_knn", k=10)
    np.testing.assert_allclose(10 * found, official["lcs_knn"], rtol=0, atol=1e-6)


def test_platonic_svcca_is_random_and_ours_exact(official: dict[str, np.ndarray]) -> None:
    """Theirs takes singular vectors by a randomised method with two iterations, ours by a full decomposition."""
    found = layer_similarity(*layers(official), metric="svcca", directions=5)
    assert 0.01 < np.abs(found - official["svcca"]).max() < 0.15


def test_calibrated_similarity(official: dict[str, np.ndarray]) -> None:
    """The p-value is theirs. Their threshold is an order statistic that counts the observed score, ours a quantile."""
    vision, text = official["vision"].astype(np.float64), official["weak_text"].astype(np.float64)
    v, t = (np.stack([search(layer, k=5).table for layer in side]) for side in (vision, text))
    metric = SIMILARITIES["mutual_knn"](ComparedLayers(tables=(v, t)))
    scores, informative = metric.scores(), np.ones((2, 2), dtype=bool)
    largest = largest_permuted(metric, informative, official["permutations"].astype(np.int64))
    null = null_of(largest, scores, informative)
    adjusted, p_value, threshold = official["calibrated"]
    best = np.unravel_index(scores.argmax(), scores.shape)
    assert null.p_values[best] == pytest.approx(p_value, abs=1e-7)
    theirs = np.sort([*largest, scores[best]])[95 - 1]
    assert theirs == pytest.approx(threshold, abs=1e-7)
    assert (scores[best] - theirs) / (1 - theirs) == pytest.approx(adjusted, abs=1e-7)
    assert 0 <= theirs - null.threshold <= np.diff(np.sort(largest)[-6:]).max()


def test_asif(official: dict[str, np.ndarray]) -> None:
    """The same order of texts for every image; their scores are ours times the length of an image's code."""
    sides = []
    for name, anchors in (("asif_images", "asif_anchor_images"), ("asif_texts", "asif_anchor_texts")):
        head = RelativeHead.of_anchors(official[anchors], keep=16, exponent=8)
        sides.append(F.normalize(head(torch.from_numpy(official[name])), dim=1).numpy())
    scores = sides[0] @ sides[1].T
    nearest = np.sort(official["asif_images"] @ official["asif_anchor_images"].T, axis=1)[:, -16:]
    lengths = np.linalg.norm(nearest.astype(np.float64) ** 8, axis=1, keepdims=True)
    np.testing.assert_allclose(scores * lengths, official["asif_scores"], rtol=1e-5)


def test_csa(official: dict[str, np.ndarray]) -> None:
    """The same cosines; their weights are the canonical correlations times (n - 1)/n, which no order depends on."""
    (vision, *_), (text, *_) = layers(official)
    fitted = fit_csa(vision[:90], text[:90], dim=4)
    np.testing.assert_allclose(fitted.correlations * 89 / 90, official["csa_weights"], rtol=0, atol=1e-10)
    images, texts = fitted.embed_images(vision[90:]), fitted.embed_texts(text[90:])
    np.testing.assert_allclose(fitted.similarity(images, texts), official["csa_cosine"], rtol=0, atol=1e-10)
    weighted = fitted.similarity(images, texts, weighted=True)
    np.testing.assert_allclose(weighted * 89 / 90, official["csa_weighted"], rtol=0, atol=1e-10)


def test_head_of_sail_is_its_formula() -> None:
    """g(relu6(f1(n)) * f2(n)) with n = layer_norm(x), by torch's own modules; their clamp at 1,000 is out of reach."""
    head = GatedHead(6, 4, hidden=48, norm=True)
    head.reset(torch.Generator().manual_seed(0))
    norm, first, second, out = torch.nn.LayerNorm(6), *(torch.nn.Linear(6, 48) for _ in "ab"), torch.nn.Linear(48, 4)
    for module, (weight, bias) in (
        (first, (head.weight1, head.bias1)),
        (second, (head.weight2, head.bias2)),
        (out, (head.weight3, head.bias3)),
    ):
        module.weight.data, module.bias.data = weight.data, bias.data
    rows = 30 * torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    inner = norm(rows)
    torch.testing.assert_close(head(rows), out(torch.nn.ReLU6()(first(inner)) * second(inner)))


def test_multiscale_is_mutual_knn_at_each_scale(official: dict[str, np.ndarray]) -> None:
    """The mean over k = 1, 2, 4, 8, 10 of (mutual kNN - chance)/(1 - chance), chance k/(n - 1)."""
    sides = layers(official)
    parts = [(layer_similarity(*sides, k=k) - k / 119) / (1 - k / 119) for k in (1, 2, 4, 8, 10)]
    found = layer_similarity(*sides, metric="multiscale_knn", k=10)
    np.testing.assert_allclose(found, np.mean(parts, axis=0), rtol=0, atol=1e-12)
