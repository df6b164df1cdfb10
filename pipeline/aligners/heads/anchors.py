"""Token-level relative representations with attention pooling: PAL (arXiv 2605.16834)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

from structure.pipeline.aligners.arrays import Array, as_tensor, computing_dtype
from structure.pipeline.aligners.chunked import in_chunks

Pooling = Literal["attention", "mean"]


def anchor_profile(
    tokens: Array,
    anchors: Array,
    *,
    mask: Array | None = None,
    temperature: float = 0.03,
    pooling: Pooling = "attention",
) -> torch.Tensor:
    """Profile of each sample over the anchors: (batch, anchors), unit rows, differentiable in both arguments.

    `tokens` (batch, token, dim), or (batch, dim) for a single vector each; `anchors` (anchors, dim), normalised here;
    `mask` (batch, token) bool, True = real: padding may hold anything, NaN included. With R = cos(token, anchor),
    weights = softmax over **tokens** of R / temperature per anchor, p = sum_t weights R, the profile is p / ||p||;
    with `pooling="mean"` p is the plain mean of R over the real tokens.
    The (batch, token, anchor) tensor is made in pieces and again in backward, never held whole, and tokens in half
    precision are widened piece by piece. Raises ValueError where shapes disagree or a sample has no real token.
    """
    z, bank = as_tensor(tokens), as_tensor(anchors)
    # Half precision is for storing: at temperature 0.03 a cosine in bfloat16 is off by a tenth of a logit.
    with torch.autocast(bank.device.type, enabled=False):
        return _profile(z, bank, mask, temperature, pooling)


def _profile(
    z: torch.Tensor, bank: torch.Tensor, mask: Array | None, temperature: float, pooling: Pooling
) -> torch.Tensor:
    dtype = computing_dtype(z, bank) if z.is_floating_point() else torch.float32
    bank = F.normalize(bank.to(dtype), dim=1)
    z = z.to(bank.device)
    if z.shape[-1] != bank.shape[-1]:
        raise ValueError(f"tokens are {z.shape[-1]} wide, anchors {bank.shape[-1]}")
    if z.ndim == 2:
        return F.normalize(anchor_code(z, bank), dim=1)
    real = None if mask is None else as_tensor(mask).to(bank.device, torch.bool)
    if real is not None:
        if real.shape != z.shape[:2]:
            raise ValueError(f"mask is {tuple(real.shape)}, tokens are {tuple(z.shape[:2])}")
        if not bool(real.any(dim=1).all()):
            raise ValueError("a sample has no real token")

    def pool(rows: torch.Tensor, kept: torch.Tensor | None, bank: torch.Tensor) -> torch.Tensor:
        return _pool(rows, bank, kept, temperature, pooling)

    return in_chunks(pool, z, real, bank, width=len(bank))


def anchor_code(tokens: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """(..., anchors): the cosine of every vector (..., dim) with every anchor (anchors, dim); not normalised."""
    bank = F.normalize(anchors, dim=1)
    return F.normalize(tokens.to(bank.dtype), dim=-1) @ bank.T


def _pool(
    tokens: torch.Tensor, bank: torch.Tensor, real: torch.Tensor | None, temperature: float, pooling: Pooling
) -> torch.Tensor:
    """`bank` has unit rows. A padded token becomes zeros, so that its cosines are 0 whatever it held."""
    z = tokens.to(bank.dtype)
    if real is not None:
        z = z.masked_fill(~real[..., None], 0.0)
    cosines = F.normalize(z, dim=2) @ bank.T
    if pooling == "mean":
        return F.normalize(cosines.sum(dim=1), dim=1)
    logits = cosines / temperature
    if real is not None:
        logits = logits.masked_fill(~real[..., None], -torch.inf)
    return F.normalize((torch.softmax(logits, dim=1) * cosines).sum(dim=1), dim=1)
