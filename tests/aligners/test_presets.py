"""Both presets against the formulas written out, through CSA's ridge and the loss of one step."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from structure.pipeline.aligners import TrainingOptions, fit, trainer
from structure.pipeline.aligners.batches import PairsInMemory
from structure.pipeline.aligners.objectives import make_objective
from structure.pipeline.aligners.trainer import Trainer
from structure.pipeline.aligners.unpaired import Unpaired
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


def test_a_released_run_is_the_loop_written_out(world):
    """Same first weights, rate and pairs: every weight after three epochs, against a plain loop with torch's own
    schedule."""
    vision, text = (torch.from_numpy(side) for side in world(60))
    options = TrainingOptions.preset("released", dim=5, epochs=3, batch=16, learning_rate=1e-2, device="cpu")
    source = PairsInMemory(vision, text, batch=16)
    run = Trainer(source, validation=None, extras=Unpaired(), options=options, rate=1e-2, device=torch.device("cpu"))
    heads = [copy.deepcopy(head) for head in (run.objective.vision, run.objective.text)]
    parameters = [parameter for head in heads for parameter in head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1e-2, betas=(0.9, 0.95), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=50 * (60 // 16))
    step = 0
    for epoch in (1, 2, 3):
        run.epoch(epoch)
        for x, y in source.epoch(options.seed * 1_000_003 + epoch):
            images, texts = heads[0](x), heads[1](y)
            logits = F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T / 0.05
            target = torch.arange(len(x))
            loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
            both = [written_out(*side, released=True) for side in ((x, images), (y, texts))]
            loss = loss + 10 * min(1, step / 1000) * sum(both) / 2
            optimiser.zero_grad()
            loss.backward()
            for parameter in parameters:
                torch.nn.utils.clip_grad_norm_([parameter], 1.0)
            optimiser.step()
            schedule.step()
            step += 1
    assert step == run.step == 12
    trained = [parameter for head in (run.objective.vision, run.objective.text) for parameter in head.parameters()]
    for one, other in zip(trained, parameters, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_released_range_test_draws_a_fresh_batch_each_step(world, monkeypatch):
    """Of more pairs than a batch holds; where one batch holds them all, it is that batch every time."""
    vision, text = (torch.from_numpy(side) for side in world(60))
    for batch, kinds in ((16, 100), (64, 1)):
        options = TrainingOptions.preset("released", dim=5, batch=batch, device="cpu")
        seen: list[torch.Tensor] = []
        make = trainer.make_batch

        def recorded(objective, x, y, *, make=make, seen=seen, **more):
            seen.append(x)
            return make(objective, x, y, **more)

        monkeypatch.setattr(trainer, "make_batch", recorded)
        curve = trainer.rate_test(PairsInMemory(vision, text, batch=batch), Unpaired(), options, torch.device("cpu"))
        assert {len(x) for x in seen} == {min(batch, 60)}
        assert len({x.numpy().tobytes() for x in seen}) == min(kinds, len(curve.rates))
        assert curve.rates[1] / curve.rates[0] == pytest.approx(10**0.08)
        monkeypatch.undo()
