"""Lion over a list of tensors: every weight moves by the sign of its momentum."""

from __future__ import annotations

from collections.abc import Iterable

import torch

BETAS = (0.9, 0.99)


class Lion:
    """Chen et al., arXiv 2302.06675, algorithm 2, with decoupled weight decay and the paper's betas. `rate` is that of
    the next step."""

    def __init__(self, parameters: Iterable[torch.Tensor], *, rate: float, weight_decay: float = 0.0) -> None:
        self.parameters, self.rate, self.weight_decay = list(parameters), rate, weight_decay
        self.momenta = [torch.zeros_like(parameter) for parameter in self.parameters]

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient, and forget the gradients."""
        for parameter, momentum in zip(self.parameters, self.momenta, strict=True):
            if parameter.grad is None:
                continue
            direction = torch.lerp(parameter.grad, momentum, BETAS[0]).sign_()
            parameter.mul_(1 - self.rate * self.weight_decay).sub_(direction, alpha=self.rate)
            momentum.lerp_(parameter.grad, 1 - BETAS[1])
            parameter.grad = None
