"""What every head is: a light map from a frozen layer's width to the shared space.

(rows, width) -> (rows, dim), not yet normalised; a head with `takes_tokens` reads `Padded` tokens (rows, token, width)
instead. A head is made empty, then either reset from a generator (a new run) or filled from a file. Its `settings` are
what its constructor takes besides the two widths, as JSON values. No head touches the global random state.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn


class Head(nn.Module):
    """What every head has: `width` in, `dim` out, `kind` (its name among `HEADS`) and `settings`."""

    kind: str
    holds_rows: ClassVar[bool] = False
    """Whether what it holds are rows of the training data themselves."""

    def __init__(self, width: int, dim: int, **settings: Any) -> None:
        super().__init__()
        self.width, self.dim, self.settings = width, dim, settings

    @property
    def takes_tokens(self) -> bool:
        """Whether it reads the tokens of a layer instead of one vector a sample."""
        return False

    def reset(self, generator: torch.Generator) -> None:
        """Draw the initial weights, none where a closed form fills the head. CPU generator; call before moving the
        head to its device."""

    def local(self, x: torch.Tensor) -> torch.Tensor:
        """Single vectors such as patches, (rows, width) -> (rows, dim): what is scored against class vectors."""
        return F.normalize(self(x), dim=1)

    def noise(self) -> torch.Tensor | None:
        """State of the head's own random numbers in training, uint8; None where it draws none."""
        return None

    def resume_noise(self, state: torch.Tensor, device: torch.device) -> None:
        """Draw on from a state of `noise`."""


def empty(*shape: int) -> nn.Parameter:
    """Weights that are still to be drawn or read."""
    return nn.Parameter(torch.zeros(*shape))


@torch.no_grad()
def draw(weight: torch.Tensor, bias: torch.Tensor | None, generator: torch.Generator) -> None:
    """PyTorch's own start of a linear layer: uniform within 1 / sqrt(inputs)."""
    bound = 1 / math.sqrt(weight.shape[1])
    weight.uniform_(-bound, bound, generator=generator)
    if bias is not None:
        bias.uniform_(-bound, bound, generator=generator)
