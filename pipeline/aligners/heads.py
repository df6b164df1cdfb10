"""Light heads from a frozen layer's width to the shared space: (rows, width) -> (rows, dim), not yet normalised.

A head with `takes_tokens` reads `Padded` tokens (rows, token, width) instead.
A head is made empty, then either reset from a generator (a new run) or filled from a file. Its `settings` are what its
constructor takes besides the two widths, as JSON values. No head touches the global random state.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from structure.pipeline.aligners.anchors import anchor_code, anchor_profile
from structure.pipeline.aligners.kernel_csa import kernel
from structure.pipeline.aligners.padded import Padded
from structure.pipeline.aligners.pieces import in_pieces
from structure.store.errors import StructureError, unknown


class Head(nn.Module):
    """What every head has: `width` in, `dim` out, `kind` (its name among `HEADS`) and `settings`."""

    kind: str

    def __init__(self, width: int, dim: int, **settings: Any) -> None:
        super().__init__()
        self.width, self.dim, self.settings = width, dim, settings

    @property
    def takes_tokens(self) -> bool:
        """Whether it reads the tokens of a layer instead of one vector an item."""
        return False

    def reset(self, generator: torch.Generator) -> None:
        """Draw the initial weights. CPU generator; call before moving the head to its device."""
        raise NotImplementedError

    def local(self, x: torch.Tensor) -> torch.Tensor:
        """Single vectors such as patches, (rows, width) -> (rows, dim): what is scored against class vectors."""
        return F.normalize(self(x), dim=1)

    def noise(self) -> torch.Tensor | None:
        """State of the head's own random numbers in training, uint8; None where it draws none."""
        return None

    def resume_noise(self, state: torch.Tensor, device: torch.device) -> None:
        """Draw on from a state of `noise`."""


def _empty(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape))


@torch.no_grad()
def _draw(weight: torch.Tensor, bias: torch.Tensor | None, generator: torch.Generator) -> None:
    """PyTorch's own start of a linear layer: uniform within 1 / sqrt(inputs)."""
    bound = 1 / math.sqrt(weight.shape[1])
    weight.uniform_(-bound, bound, generator=generator)
    if bias is not None:
        bias.uniform_(-bound, bound, generator=generator)


class LinearHead(Head):
    """z = W x + b."""

    kind = "linear"

    def __init__(self, width: int, dim: int) -> None:
        super().__init__(width, dim)
        self.weight, self.bias = _empty(dim, width), _empty(dim)

    def reset(self, generator: torch.Generator) -> None:
        _draw(self.weight, self.bias, generator)

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
        self.weight1, self.bias1 = _empty(hidden, width), _empty(hidden)
        self.weight2, self.bias2 = _empty(dim, hidden), _empty(dim)

    def reset(self, generator: torch.Generator) -> None:
        _draw(self.weight1, self.bias1, generator)
        _draw(self.weight2, self.bias2, generator)

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
        self.projection = _empty(dim, width)
        self.weight1, self.weight2 = _empty(rank, width), _empty(dim, rank)
        self.gate = nn.Parameter(torch.logit(torch.tensor(float(gate))))
        self._seed = 0
        self._noise: torch.Generator | None = None

    def reset(self, generator: torch.Generator) -> None:
        nn.init.orthogonal_(self.projection, generator=generator)
        _draw(self.weight1, None, generator)
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
    """SAIL's head (arXiv 2412.04616): z = W3 (relu(W1 x) * W2 x) with biases."""

    kind = "gated"

    def __init__(self, width: int, dim: int, *, hidden: int) -> None:
        super().__init__(width, dim, hidden=hidden)
        self.weight1, self.bias1 = _empty(hidden, width), _empty(hidden)
        self.weight2, self.bias2 = _empty(hidden, width), _empty(hidden)
        self.weight3, self.bias3 = _empty(dim, hidden), _empty(dim)

    def reset(self, generator: torch.Generator) -> None:
        _draw(self.weight1, self.bias1, generator)
        _draw(self.weight2, self.bias2, generator)
        _draw(self.weight3, self.bias3, generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(F.linear(x, self.weight1, self.bias1)) * F.linear(x, self.weight2, self.bias2)
        return F.linear(inner, self.weight3, self.bias3)


class IdentityHead(Head):
    """z = x - mean: the side that closed forms map onto, and the control that does nothing but centre."""

    kind = "identity"

    def __init__(self, width: int, dim: int) -> None:
        if width != dim:
            raise StructureError(f"The identity head keeps the width: it cannot map {width} to {dim}.")
        super().__init__(width, dim)
        self.mean = nn.Buffer(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - self.mean


class RelativeHead(Head):
    """Relative representation: z_k = max(cos(x, anchor_k), 0)^exponent for the `keep` nearest anchors, 0 elsewhere.

    `anchors` (dim, width) are real rows. With all kept and exponent 1 negative cosines stay (Moschella et al., arXiv
    2209.15430); with the 800 nearest and exponent 8 this is ASIF (Norelli et al., arXiv 2210.01738, section 3).
    """

    kind = "relative"

    def __init__(self, width: int, dim: int, *, keep: int, exponent: int) -> None:
        super().__init__(width, dim, keep=keep, exponent=exponent)
        self.anchors = nn.Buffer(torch.zeros(dim, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cosines = F.normalize(x, dim=1) @ F.normalize(self.anchors, dim=1).T
        keep, exponent = self.settings["keep"], self.settings["exponent"]
        if keep >= self.dim and exponent == 1:
            return cosines
        values, places = cosines.topk(min(keep, self.dim), dim=1)
        return torch.zeros_like(cosines).scatter_(1, places, values.clamp_min(0) ** exponent)


class KernelHead(Head):
    """z = C k(x) + b, with k(x) the RBF kernel of x with `landmarks` real rows (see `kernel_csa`)."""

    kind = "kernel"

    def __init__(self, width: int, dim: int, *, landmarks: int, gamma: float) -> None:
        super().__init__(width, dim, landmarks=landmarks, gamma=gamma)
        self.landmarks = nn.Buffer(torch.zeros(landmarks, width))
        self.coefficients, self.bias = nn.Buffer(torch.zeros(dim, landmarks)), nn.Buffer(torch.zeros(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(kernel(x, self.landmarks, self.settings["gamma"]), self.coefficients, self.bias)


class AnchorHead(Head):
    """PAL (arXiv 2605.16834): cosines with `dim` learnable anchors, attention-pooled over tokens; no projection.

    `pooling`: "attention" (per anchor, a softmax over tokens at `temperature`), "mean", or "global": no tokens but one
    vector an item, the paper's ablation.
    """

    kind = "anchors"

    def __init__(self, width: int, dim: int, *, temperature: float = 0.03, pooling: str = "attention") -> None:
        super().__init__(width, dim, temperature=temperature, pooling=pooling)
        self.anchors = _empty(dim, width)

    @property
    def takes_tokens(self) -> bool:
        return bool(self.settings["pooling"] != "global")

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        self.anchors.copy_(F.normalize(torch.randn(self.dim, self.width, generator=generator), dim=1))

    def forward(self, x: Padded | torch.Tensor) -> torch.Tensor:
        if isinstance(x, Padded):
            how = self.settings
            return anchor_profile(
                x.values, self.anchors, mask=x.mask, temperature=how["temperature"], pooling=how["pooling"]
            )
        return anchor_profile(x, self.anchors)

    def local(self, x: torch.Tensor) -> torch.Tensor:
        """Cosines with the anchors, not normalised: equation of PAL's segmentation score."""
        return anchor_code(x, self.anchors)


def _projected_mean(
    values: torch.Tensor,
    mask: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    weight1: torch.Tensor,
    bias1: torch.Tensor,
    weight2: torch.Tensor,
) -> torch.Tensor:
    """mean_t (W x_t + W2 gelu(W1 x_t + b1)) + b over real tokens."""
    z = values.to(weight.dtype).masked_fill(~mask[..., None], 0.0)
    count = mask.sum(dim=1, keepdim=True)
    inner = F.gelu(F.linear(z, weight1, bias1)).masked_fill(~mask[..., None], 0.0)
    # Both maps are linear: the mean goes first, so that no (token, dim) tensor is made.
    return F.linear(z.sum(dim=1) / count, weight, bias) + F.linear(inner.sum(dim=1) / count, weight2)


class TokenHead(Head):
    """A light head over tokens after FreezeAlign (arXiv 2409.19425): z = mean_t g(x_t) [+ C x_cls].

    g(x) = W x + W2 gelu(W1 x + b1) + b is one small projection for all tokens, the mean runs over the real ones. With
    `cls` (a vision transformer) the mean is over the patches and the first token has a projection of its own.
    """

    kind = "tokens"

    def __init__(self, width: int, dim: int, *, hidden: int, cls: bool) -> None:
        super().__init__(width, dim, hidden=hidden, cls=cls)
        self.weight, self.bias = _empty(dim, width), _empty(dim)
        self.weight1, self.bias1 = _empty(hidden, width), _empty(hidden)
        self.weight2 = _empty(dim, hidden)
        if cls:
            self.weight_cls = _empty(dim, width)

    @property
    def takes_tokens(self) -> bool:
        return True

    def reset(self, generator: torch.Generator) -> None:
        _draw(self.weight, self.bias, generator)
        _draw(self.weight1, self.bias1, generator)
        _draw(self.weight2, None, generator)
        if self.settings["cls"]:
            _draw(self.weight_cls, None, generator)

    def forward(self, x: Padded) -> torch.Tensor:
        cls = self.settings["cls"]
        if cls and not x.prefix:
            raise StructureError("This head projects the CLS token on its own, and these tokens have none.")
        patches = slice(x.prefix if cls else 0, None)
        weights = (self.weight, self.bias, self.weight1, self.bias1, self.weight2)
        pooled = in_pieces(_projected_mean, x.values[:, patches], x.mask[:, patches], *weights, width=len(self.weight1))
        return pooled + F.linear(x.values[:, 0].to(pooled.dtype), self.weight_cls) if cls else pooled

    def local(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.linear(F.gelu(F.linear(x, self.weight1, self.bias1)), self.weight2)
        return F.normalize(F.linear(x, self.weight, self.bias) + inner, dim=1)


HEADS: dict[str, type[Head]] = {
    head.kind: head
    for head in (
        LinearHead,
        MlpHead,
        LowRankHead,
        GatedHead,
        IdentityHead,
        RelativeHead,
        KernelHead,
        AnchorHead,
        TokenHead,
    )
}


def make_head(kind: str, width: int, dim: int, **settings: Any) -> Head:
    """An empty head. Raises StructureError for an unknown kind or settings it does not take."""
    if kind not in HEADS:
        raise unknown("head", kind, HEADS)
    try:
        return HEADS[kind](width, dim, **settings)
    except TypeError as error:
        raise StructureError(f"A {kind} head does not take {settings}: {error}.") from error
