"""AdamW over a list of tensors."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.optim.adamw import adamw

EPSILON = 1e-8


class AdamW:
    """The update of `torch.optim.AdamW`, number for number; with a `weight_decay` of 0 that of Adam.

    That class loads PyTorch's compiler at its first step, which takes four seconds and compiles nothing here; its
    functional form does not. `state` holds for the number of each parameter the step (a scalar) and both moments, from
    its first gradient on.
    """

    def __init__(
        self,
        parameters: Iterable[torch.Tensor],
        *,
        rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters, self.rate, self.betas, self.weight_decay = list(parameters), rate, betas, weight_decay
        self.state: dict[int, dict[str, torch.Tensor]] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        moving = {n: one for n, one in enumerate(self.parameters) if one.grad is not None}
        for number, parameter in moving.items():
            if number not in self.state:
                self.state[number] = {
                    "step": torch.tensor(0.0),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        states = [self.state[number] for number in moving]
        adamw(
            list(moving.values()),
            [one.grad for one in moving.values() if one.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.rate,
            weight_decay=self.weight_decay,
            eps=EPSILON,
            maximize=False,
        )
