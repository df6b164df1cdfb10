"""The optimiser of the heads: PyTorch's own numbers without its compiler."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from structure.pipeline.aligners import TrainingOptions
from structure.pipeline.aligners.adamw import AdamW
from structure.pipeline.aligners.aligner_method import fit


@pytest.mark.parametrize("decay", [0.0, 1e-2])
def test_steps_are_those_of_torch_number_for_number(decay: float) -> None:
    start = [torch.randn(shape, generator=torch.Generator().manual_seed(1)) for shape in ((4, 3), (4,), (2,))]
    mine, theirs = ([one.clone().requires_grad_() for one in start] for _ in range(2))
    ours = AdamW(mine, rate=1e-2, betas=(0.9, 0.95), weight_decay=decay)
    other = torch.optim.AdamW(theirs, lr=1e-2, betas=(0.9, 0.95), weight_decay=decay)
    for step in range(6):
        for moving, optimiser in ((mine, ours), (theirs, other)):
            optimiser.zero_grad()
            loss = (moving[0] @ torch.ones(3) + step * moving[1]).square().sum()
            (loss + moving[2].sum() if step > 2 else loss).backward()  # the last has no gradient at first
        ours.rate = other.param_groups[0]["lr"] = 1e-2 / (1 + step)
        ours.step()
        other.step()
    assert all(torch.equal(one, two) for one, two in zip(mine, theirs, strict=True))
    assert ours.state[2]["step"] == 3


def test_training_takes_no_optimiser_that_loads_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def loads(self: torch.optim.Optimizer, *given: object) -> None:
        raise AssertionError("torch.optim.Optimizer imports torch._dynamo")

    monkeypatch.setattr(torch.optim.Optimizer, "__init__", loads)
    vision, text = (np.random.default_rng(seed).standard_normal((40, 6)).astype(np.float32) for seed in (0, 1))
    for options in (TrainingOptions(epochs=1), TrainingOptions(method="csa", dim=4, ridge=0.1)):
        assert fit(vision, text, options=options).aligner.dim
