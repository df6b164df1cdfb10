"""Heads over the tokens of a layer: PAL's anchors and a projection after FreezeAlign."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from structure.pipeline.aligners.chunked import in_chunks
from structure.pipeline.aligners.heads.anchors import anchor_code, anchor_profile, query_profile
from structure.pipeline.aligners.heads.head import Head, draw, empty
from structure.pipeline.aligners.padded import Padded
from structure.store.errors import StructureError


class AnchorHead(Head):
    """PAL (arXiv 2605.16834): cosines with `dim` learnable anchors, attention-pooled over tokens; no projection.

    `pooling`: "attention" (per anchor, a softmax over tokens at `temperature`), or one of its controls: "mean" (uniform
    weights), "query" (one learnable query weighs the tokens for all anchors), "global" (no tokens but one vector a
    sample).
    """

    kind = "anchors"

    def __init__(self, width: int, dim: int, *, temperature: float = 0.03, pooling: str = "attention") -> None:
        super().__init__(width, dim, temperature=temperature, pooling=pooling)
        self.anchors = empty(dim, width)
        if pooling == "query":
            self.query = empty(width)

    @property
    def takes_tokens(self) -> bool:
        return bool(self.settings["pooling"] != "global")

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        self.anchors.copy_(F.normalize(torch.randn(self.dim, self.width, generator=generator), dim=1))
        if self.settings["pooling"] == "query":
            self.query.copy_(F.normalize(torch.randn(self.width, generator=generator), dim=0))

    def forward(self, x: Padded | torch.Tensor) -> torch.Tensor:
        if isinstance(x, Padded):
            how = self.settings
            if how["pooling"] == "query":
                return query_profile(x.values, self.anchors, self.query, mask=x.mask, temperature=how["temperature"])
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
        self.weight, self.bias = empty(dim, width), empty(dim)
        self.weight1, self.bias1 = empty(hidden, width), empty(hidden)
        self.weight2 = empty(dim, hidden)
        if cls:
            self.weight_cls = empty(dim, width)

    @property
    def takes_tokens(self) -> bool:
        return True

    def reset(self, generator: torch.Generator) -> None:
        draw(self.weight, self.bias, generator)
        draw(self.weight1, self.bias1, generator)
        draw(self.weight2, None, generator)
        if self.settings["cls"]:
            draw(self.weight_cls, None, generator)

    def forward(self, x: Padded) -> torch.Tensor:
        cls = self.settings["cls"]
        if cls and not x.prefix:
            raise StructureError("This head projects the CLS token on its own, and these tokens have none.")
        patches = slice(x.prefix if cls else 0, None)
        weights = (self.weight, self.bias, self.weight1, self.bias1, self.weight2)
        pooled = in_chunks(_projected_mean, x.values[:, patches], x.mask[:, patches], *weights, width=len(self.weight1))
        return pooled + F.linear(x.values[:, 0].to(pooled.dtype), self.weight_cls) if cls else pooled

    def local(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.linear(F.gelu(F.linear(x, self.weight1, self.bias1)), self.weight2)
        return F.normalize(F.linear(x, self.weight, self.bias) + inner, dim=1)
