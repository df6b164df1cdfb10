"""Heads over one vector a sample whose weights are trained by gradient descent."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from structure.pipeline.aligners.heads.head import Head, draw, empty


class LinearHead(Head):
    """z = W x + b."""

    kind = "linear"

    def __init__(self, width: int, dim: int) -> None:
        super().__init__(width, dim)
        self.weight, self.bias = empty(dim, width), empty(dim)

    def reset(self, generator: torch.Generator) -> None:
        draw(self.weight, self.bias, generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight, self.bias)

    @classmethod
    @torch.no_grad()
    def of_map(cls, projection: torch.Tensor, mean: torch.Tensor) -> LinearHead:
        """The head z = (x - mean) @ projection, for closed forms. `projection` (width, dim), `mean` (width,)."""
        head = cls(*projection.shape)
        head.weight.copy_(projection.T)
        head.bias.copy_(-(mean @ projection))
        return head


class MlpHead(Head):
    """Two layers: z = W2 gelu(W1 x + b1) + b2."""

    kind = "mlp"

    def __init__(self, width: int, dim: int, *, hidden: int) -> None:
        super().__init__(width, dim, hidden=hidden)
        self.weight1, self.bias1 = empty(hidden, width), empty(hidden)
        self.weight2, self.bias2 = empty(dim, hidden), empty(dim)

    def reset(self, generator: torch.Generator) -> None:
        draw(self.weight1, self.bias1, generator)
        draw(self.weight2, self.bias2, generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(F.gelu(F.linear(x, self.weight1, self.bias1)), self.weight2, self.bias2)


class LowRankHead(Head):
    """z = P x + a W2 dropout(gelu(W1 x)), a = sigmoid(gate): a linear map with a residual of low rank.

    P starts orthogonal and W2 at 0, so training starts at the linear map P x. With `gate` (the starting value of a)
    at 0, as in the authors' released configuration, the logit is -inf: neither gate nor W2 ever has a gradient and
    the head stays P x. Anywhere else the residual opens as soon as W2 leaves 0.
    """

    kind = "lowrank"

    def __init__(self, width: int, dim: int, *, rank: int = 64, dropout: float = 0.1, gate: float = 0.5) -> None:
        super().__init__(width, dim, rank=rank, dropout=dropout, gate=gate)
        self.projection = empty(dim, width)
        self.weight1, self.weight2 = empty(rank, width), empty(dim, rank)
        self.gate = nn.Parameter(torch.logit(torch.tensor(float(gate))))
        self._seed = 0
        self._noise: torch.Generator | None = None

    def reset(self, generator: torch.Generator) -> None:
        nn.init.orthogonal_(self.projection, generator=generator)
        draw(self.weight1, None, generator)
        nn.init.zeros_(self.weight2)
        self._seed = int(torch.randint(2**62, (), generator=generator))

    def noise(self) -> torch.Tensor | None:
        return None if self._noise is None else self._noise.get_state()

    def resume_noise(self, state: torch.Tensor, device: torch.device) -> None:
        self._noise = torch.Generator(device)
        self._noise.set_state(state)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.gelu(F.linear(x, self.weight1))
        share = self.settings["dropout"]
        if self.training and share:
            if self._noise is None or self._noise.device != x.device:
                self._noise = torch.Generator(x.device).manual_seed(self._seed)
            kept = torch.empty_like(inner).bernoulli_(1 - share, generator=self._noise)
            inner = inner * kept / (1 - share)
        return F.linear(x, self.projection) + torch.sigmoid(self.gate) * F.linear(inner, self.weight2)


class GatedHead(Head):
    """A gated linear unit: z = W3 (relu(W1 x) * W2 x) with biases.

    With `norm` x goes through a layer norm first and the gate ends at 6, as in the head of SAIL (arXiv 2412.04616 and
    its code): the product of two maps would square the spread of the rows' lengths.
    """

    kind = "gated"

    def __init__(self, width: int, dim: int, *, hidden: int, norm: bool = False) -> None:
        super().__init__(width, dim, hidden=hidden, norm=norm)
        if norm:
            self.scale, self.shift = empty(width), empty(width)
        self.weight1, self.bias1 = empty(hidden, width), empty(hidden)
        self.weight2, self.bias2 = empty(hidden, width), empty(hidden)
        self.weight3, self.bias3 = empty(dim, hidden), empty(dim)

    def reset(self, generator: torch.Generator) -> None:
        if self.settings["norm"]:
            nn.init.ones_(self.scale)
        draw(self.weight1, self.bias1, generator)
        draw(self.weight2, self.bias2, generator)
        draw(self.weight3, self.bias3, generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = F.relu
        if self.settings["norm"]:
            x, gate = F.layer_norm(x, (self.width,), self.scale, self.shift), F.relu6
        inner = gate(F.linear(x, self.weight1, self.bias1)) * F.linear(x, self.weight2, self.bias2)
        return F.linear(inner, self.weight3, self.bias3)
