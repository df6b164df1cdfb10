"""What is said of R_S before training, per-side weights, its own temperature, and the variant by perplexity."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from structure.pipeline.aligners import TrainingOptions, fit
from structure.pipeline.aligners.losses.perplexity_affinity import log_affinities, perplexity_loss
from structure.pipeline.aligners.losses.similarity_space import SimilaritySpace
from structure.pipeline.aligners.objectives import make_objective
from structure.pipeline.aligners.structure_diagnosis import diagnose, share_within
from structure.store.errors import StructureError


def affinities(x: np.ndarray, temperature: float) -> np.ndarray:
    """Row softmax of the similarities, written out."""
    z = x / np.linalg.norm(x, axis=1, keepdims=True)
    z = z - z.mean(axis=0)
    logits = z @ z.T / temperature
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def test_the_numbers_are_the_formulas(world) -> None:
    vision, text = world(80)
    options = TrainingOptions(weight=8.0, rs_temperature=0.2)
    found = diagnose(vision, text, options)
    p, q = (affinities(side.astype(np.float64), 0.2) for side in (vision, text))
    m = (p + q) / 2
    js = ((p * np.log(p / m) + q * np.log(q / m)).sum(axis=1) / 2).mean()
    assert found.js == pytest.approx(js, rel=1e-4)
    assert found.bound == pytest.approx(8 * js / 2, rel=1e-4)
    assert found.vision_diagonal == pytest.approx(np.diagonal(p).mean(), rel=1e-4)
    assert found.text_diagonal == pytest.approx(np.diagonal(q).mean(), rel=1e-4)
    assert diagnose(vision, text, options.changed(combine="mean")).bound == pytest.approx(2 * js, rel=1e-4)
    assert diagnose(vision, text, options.changed(weight_text=0.0)).bound == 0
    assert found.rows == 80
    assert diagnose(vision, text, options.changed(batch=32)).rows == 32


def test_the_three_verdicts(world) -> None:
    vision, _ = world(100)
    options = TrainingOptions(rs_temperature=0.3)
    spread = np.eye(100, dtype=np.float32)
    assert diagnose(spread, spread[::-1].copy(), TrainingOptions()).verdict == "inert"
    assert diagnose(vision, vision + 1e-3, options).verdict == "inert"
    other = np.random.default_rng(0).permutation(vision)
    found = diagnose(vision, other, options.changed(weight=100.0))
    assert found.verdict == "in conflict"
    assert "in conflict" in found.sentence()
    fitting = options.changed(weight=2 * 0.3 / found.js)
    assert diagnose(vision, other, fitting).verdict == "fits"


def test_the_bound_holds_where_both_aligned_sides_coincide(world) -> None:
    """R_S(v) + R_S(t) >= JS(P_V, P_T) / 2, for any space that both share."""
    vision, text = world(60)
    options = TrainingOptions(dim=7, rs_temperature=0.3, weight=1.0)
    objective = make_objective((24, 18), options)
    batch = objective.batch(torch.from_numpy(vision), torch.from_numpy(text))
    js = diagnose(vision, text, options).js
    for seed in range(5):
        shared = torch.randn(60, 7, generator=torch.Generator().manual_seed(seed))
        both = [
            objective._structure_loss(head, before, shared, None)
            for head, before in ((objective.vision, batch.vision_frozen), (objective.text, batch.text_frozen))
        ]
        assert float(sum(both)) >= js / 2 > 0


def test_text_variance_within_samples() -> None:
    rows = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [5, 5]], dtype=np.float32)
    assert share_within(rows, np.array([0, 0, 1, 1, 2])) == pytest.approx(1)
    assert share_within(rows, np.array([0, 1, 0, 1, 2])) == pytest.approx(0)
    assert share_within(rows, np.arange(5)) is None


def test_sides_have_weights_of_their_own(world) -> None:
    vision, text = (torch.from_numpy(side) for side in world(40))
    options = TrainingOptions(dim=5, weight=10.0, weight_vision=2.0, weight_text=6.0)
    objective = make_objective((24, 18), options)
    losses, _, _ = objective.losses(objective.batch(vision, text), structure=True)
    half = objective.total(losses, weight=5.0) - losses.contrastive  # half way through a warm-up
    torch.testing.assert_close(half, losses.structure_vision + 3 * losses.structure_text)


def test_r_s_has_a_temperature_of_its_own(world) -> None:
    vision, text = (torch.from_numpy(side) for side in world(40))
    pairs = [
        ({"temperature": 0.2}, {"temperature": 0.2, "rs_temperature": 0.2}),
        ({"temperature": 0.1, "rs_temperature": 0.2}, {"temperature": 0.3, "rs_temperature": 0.2}),
    ]
    for one, other in pairs:
        both = []
        for changes in (one, other):
            objective = make_objective((24, 18), TrainingOptions(dim=5, **changes))
            both.append(objective.losses(objective.batch(vision, text), structure=True)[0])
        assert both[0].structure_vision == both[1].structure_vision
        assert (both[0].contrastive == both[1].contrastive) == (one["temperature"] == other["temperature"])


def test_affinities_have_the_perplexity_asked_for(world) -> None:
    vision, _ = world(70)
    log_p = log_affinities(torch.from_numpy(vision).double(), 10.0, SimilaritySpace())
    assert log_p.shape == (70, 69)
    entropy = -(log_p.exp() * log_p).sum(dim=1).mean()
    assert float(entropy) == pytest.approx(math.log(10), abs=1e-6)


def test_the_variant_is_scale_free_bounded_and_differentiable(world) -> None:
    vision, text = (torch.from_numpy(side).double() for side in world(50))
    space = SimilaritySpace()
    assert float(perplexity_loss(vision, vision * 3, perplexity=10, space=space)) == pytest.approx(0, abs=1e-9)
    after = text.clone().requires_grad_()
    loss = perplexity_loss(vision, after, perplexity=10, space=space)
    assert 0 < loss.item() < math.log(2)
    loss.backward()
    moved = text - 0.5 * after.grad / after.grad.norm()
    assert perplexity_loss(vision, moved, perplexity=10, space=space) < loss
    with pytest.raises(ValueError, match="2 rows"):
        perplexity_loss(vision[:2], text[:2], perplexity=10, space=space)


def test_training_takes_the_variant_and_refuses_what_it_does_not_use(world) -> None:
    vision, text = world(60)
    options = TrainingOptions(dim=5, epochs=3, learning_rate=1e-2, rs_affinity="perplexity", device="cpu")
    assert fit(vision, text, options=options).history[-1]["R_S_vision"] > 0
    for name in ("rs_temperature", "levels", "margin"):
        assert name in options.idle
    assert "perplexity" in options.changed(rs_affinity="softmax").idle
    with pytest.raises(StructureError, match="perplexity"):
        TrainingOptions(perplexity=0.5)


def test_unit_rows() -> None:
    """The diagnosis does not depend on the scale of the features."""
    rows = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    one, other = (diagnose(side.numpy(), side.numpy() * 9, TrainingOptions()).js for side in (rows, F.normalize(rows)))
    assert one == pytest.approx(other, abs=1e-6)
