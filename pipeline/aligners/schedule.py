"""How the learning rate and the regulariser's weight move with the step, and how gradients are clipped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch

Clipping = Literal["tensor", "global"]


def warm_up(step: int, *, steps: int) -> float:
    """Share of the full weight at `step` (from 0): rises linearly to 1 over `steps` steps."""
    return 1.0 if steps <= 0 else min(1.0, step / steps)


def cosine(step: int, *, period: int) -> float:
    """Share of the base learning rate: 1 at step 0, 0 at `period`, and back up again: (1 + cos(pi step / period)) / 2.

    Without restart it is periodic, as the published schedule is where a run is longer than its period.
    """
    return (1 + math.cos(math.pi * step / period)) / 2


def published_period(rows: int, *, batch: int) -> int:
    """T_max of the published schedule in steps: 50 max(floor(rows / batch), 1), `batch` as it is configured."""
    return 50 * max(rows // batch, 1)


def clip_gradients(parameters: Sequence[torch.nn.Parameter], *, most: float, scope: Clipping) -> None:
    """Scale gradients down to norm `most`: each tensor on its own (as the released code does) or all together."""
    held = [parameter for parameter in parameters if parameter.grad is not None]
    for group in [held] if scope == "global" else [[parameter] for parameter in held]:
        torch.nn.utils.clip_grad_norm_(group, most)
