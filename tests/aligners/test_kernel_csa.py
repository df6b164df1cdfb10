from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import inv, sqrtm

from structure.pipeline.aligners import TrainingOptions, fit
from structure.pipeline.aligners import kernel_csa_many_pairs as many
from structure.pipeline.aligners import kernel_csa_solver as kernel_csa
from structure.pipeline.aligners.csa_solver import fit_csa_moments, moments
from structure.pipeline.aligners.options import applicable

OPTIONS = TrainingOptions(method="kernel-csa", dim=5, validation=0.1, device="cpu")


def test_nystroem_features_have_the_kernel_as_inner_products(world):
    vision, _ = world(60)
    rows = torch.from_numpy(vision).double()
    gamma = kernel_csa.bandwidth(rows)
    features = kernel_csa.kernel(rows, rows, gamma) @ kernel_csa.whitening(rows, gamma)
    unit = vision.astype("f8") / np.linalg.norm(vision.astype("f8"), axis=1, keepdims=True)
    distances = ((unit[:, None] - unit[None]) ** 2).sum(axis=2)
    assert np.isclose(gamma, 1 / (2 * np.median(distances[~np.eye(60, dtype=bool)])), rtol=1e-2)
    np.testing.assert_allclose((features @ features.T).numpy(), np.exp(-gamma * distances), atol=1e-7)


def test_correlations_are_those_of_the_dual_problem(world):
    """Regularised kernel CCA in its dual form, with dense square roots of the centred Gram matrices."""
    x, y = (torch.from_numpy(side).double() for side in world(50))
    features, roots = [], []
    for rows in (x, y):
        gamma = kernel_csa.bandwidth(rows)
        gram = kernel_csa.kernel(rows, rows, gamma)
        features.append(gram @ kernel_csa.whitening(rows, gamma))
        centring = np.eye(50) - 1 / 50
        centred = centring @ gram.numpy() @ centring
        ridge = 0.7 * np.trace(centred) / 50 / features[-1].shape[1]
        roots.append((np.real(sqrtm(centred)), inv(np.real(sqrtm(centred / 50 + ridge * np.eye(50))))))
    (root_x, inverse_x), (root_y, inverse_y) = roots
    expected = np.linalg.svd(inverse_x @ root_x @ root_y @ inverse_y / 50, compute_uv=False)[:5]
    fitted = fit_csa_moments(moments([(features[0], features[1])]), dim=5, ridge=0.7)
    np.testing.assert_allclose(fitted.correlations, expected, atol=1e-6)


def test_sees_what_no_linear_map_can():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 400)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    doubled = np.stack([np.cos(2 * angle), np.sin(2 * angle), np.full(400, 0.3)], axis=1)
    recalls = {
        method: fit(
            circle,
            doubled,
            options=TrainingOptions(**applicable({"method": method, "dim": 2, "ridge": 0.01, "device": "cpu"})),
        ).metrics
        for method in ("kernel-csa", "ridge")
    }
    assert recalls["kernel-csa"]["text_retrieval_recall@1"] > 4 * recalls["ridge"]["text_retrieval_recall@1"]


def test_landmarks_are_a_seeded_subset_and_their_number_is_told(world, monkeypatch):
    monkeypatch.setattr(kernel_csa, "LANDMARKS", 40)
    notes: list[str] = []
    trained = fit(*world(200), options=OPTIONS, on_event=lambda event: notes.append(getattr(event, "text", "")))
    assert trained.aligner.metadata["landmarks"] == 40
    assert "kernel-csa: 40 of 180 training pairs are landmarks" in notes
    again = fit(*world(200), options=OPTIONS)
    assert again.aligner.pack() == trained.aligner.pack()


@pytest.mark.parametrize(("directions", "told"), [(24, False), (2, True)])
def test_many_pairs_are_solved_by_float32_products(monkeypatch, directions, told):
    """The scores are those of the exact road, which takes over where the kernel has too few directions."""
    random = np.random.default_rng(0)
    common = random.standard_normal((1200, directions))
    vision, text = (np.tanh(common @ random.standard_normal((directions, width))) for width in (48, 40))
    for solver in (kernel_csa, many):
        monkeypatch.setattr(solver, "LANDMARKS", 200)
    options = OPTIONS.changed(dim=16, ridge=0.1)
    scores, notes = [], []
    for most in (10_000, 1000):
        monkeypatch.setattr(many, "MANY_PAIRS", most)
        aligner = fit(vision, text, options=options, on_event=lambda event: notes.append(str(event))).aligner
        scores.append(aligner.embed_images(vision[:50]) @ aligner.embed_texts(text[:50]).T)
    assert any("solved again in float64" in note for note in notes) is told
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-6 if told else 0.01)
    assert told or not np.array_equal(*scores)
