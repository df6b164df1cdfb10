"""Both presets against the formulas written out, through CSA's ridge and the loss of one step."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from structure.pipeline.aligners import TrainingOptions, fit
from structure.pipeline.aligners.objectives import make_objective
from structure.pipeline.progress import Note


def written_out(before, after, *, released):
    """R_S of one side at level 1, temperature 0.05."""

    def rows(x):
        z = F.normalize(x, dim=1)
        z = z - z.mean(0)
        return torch.softmax(z @ z.T / 0.05, dim=1)

    p, q = rows(before), rows(after)
    m = (p + q) / 2
    if released:
        p, q, m = p + 1e-12, q + 1e-12, m + 1e-12
        return ((m * (m / p).log() + m * (m / q).log()).sum(1) / 2).mean()
    return ((p * (p / m).log() + q * (q / m).log()).sum(1) / 2).mean()


@pytest.mark.parametrize("name", ["paper", "released"])
def test_one_step_is_the_formula(world, name):
    vision, text = (torch.from_numpy(side) for side in world(48))
    objective = make_objective((24, 18), TrainingOptions.preset(name, dim=5))
    losses, images, texts = objective.losses(objective.batch(vision, text), structure=True)
    logits = F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T / 0.05
    target = torch.arange(48)
    contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    both = [written_out(x, a, released=name == "released") for x, a in ((vision, images), (text, texts))]
    wanted = contrast + 10 * (sum(both) / 2 if name == "released" else sum(both))
    got = objective.total(losses, weight=10.0)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    parameters = [objective.vision.weight, objective.text.weight]
    ours = torch.autograd.grad(got, parameters, retain_graph=True)
    for one, other in zip(ours, torch.autograd.grad(wanted, parameters), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_csa_has_a_ridge_of_its_own_outside_the_presets(world):
    vision, text = world(100)
    options = TrainingOptions(method="csa", regulariser="none", dim=6, device="cpu")
    told = []
    usual = fit(vision, text, options=options, on_event=told.append)
    assert usual.aligner.metadata["ridge"] == pytest.approx((24 + 18) / usual.pairs)
    assert any("--ridge 0 is plain CCA" in event.text for event in told if isinstance(event, Note))
    plain = fit(vision, text, options=options.changed(ridge=0.0))
    for name in ("paper", "released"):
        preset = TrainingOptions.preset(name, method="csa", regulariser="none", dim=6, device="cpu")
        assert torch.equal(fit(vision, text, options=preset).aligner.vision.weight, plain.aligner.vision.weight)
    assert not torch.equal(usual.aligner.vision.weight, plain.aligner.vision.weight)
