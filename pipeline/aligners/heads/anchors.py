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
    bank, z = _widened(z, bank)
    if z.ndim == 2:
        return F.normalize(anchor_code(z, bank), dim=1)
    real = _real(z, bank, mask)

    def pool(rows: torch.Tensor, kept: torch.Tensor | None, bank: torch.Tensor) -> torch.Tensor:
        return _pool(rows, bank, kept, temperature, pooling)

    return in_chunks(pool, z, real, bank, width=len(bank))


def _widened(z: torch.Tensor, bank: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The anchors as unit rows in the dtype of the computation, and the tokens on their device."""
    dtype = computing_dtype(z, bank) if z.is_floating_point() else torch.float32
    bank = F.normalize(bank.to(dtype), dim=1)
    if z.shape[-1] != bank.shape[-1]:
        raise ValueError(f"tokens are {z.shape[-1]} wide, anchors {bank.shape[-1]}")
    return bank, z.to(bank.device)


def _real(z: torch.Tensor, bank: torch.Tensor, mask: Array | None) -> torch.Tensor | None:
    """The mask as booleans on the device; None where all tokens are real."""
    if mask is None:
        return None
    real = as_tensor(mask).to(bank.device, torch.bool)
    if real.shape != z.shape[:2]:
        raise ValueError(f"mask is {tuple(real.shape)}, tokens are {tuple(z.shape[:2])}")
    if not bool(real.any(dim=1).all()):
        raise ValueError("a sample has no real token")
    return real


def query_profile(
    tokens: Array,
    anchors: Array,
    query: Array,
    *,
    mask: Array | None = None,
    temperature: float = 0.03,
) -> torch.Tensor:
    """Profile of each sample over the anchors with one learnable query for all of them: (batch, anchors), unit rows.

    The control of PAL's attention, in which every anchor asks the tokens on its own. `query` (dim,), normalised here;
    the other arguments are those of `anchor_profile`. With R = cos(token, anchor), weights = softmax over tokens of
    cos(token, query) / temperature, p = sum_t weights R, the profile is p / ||p||. Raises as `anchor_profile` does.
    """
    z, bank, asked = as_tensor(tokens), as_tensor(anchors), as_tensor(query)
    with torch.autocast(bank.device.type, enabled=False):
        bank, z = _widened(z, bank)
        real = _real(z, bank, mask)
        asked = F.normalize(asked.to(bank), dim=0)

        def pool(rows: torch.Tensor, kept: torch.Tensor | None, asked: torch.Tensor) -> torch.Tensor:
            unit = _unit_tokens(rows, kept, asked.dtype)
            weights = torch.softmax(_masked(unit @ asked / temperature, kept), dim=1)
            return (weights[..., None] * unit).sum(dim=1)

        # The weights are the same for every anchor: tokens are pooled first, and no (token, anchor) tensor is made.
        return F.normalize(in_chunks(pool, z, real, asked, width=z.shape[-1]) @ bank.T, dim=1)


def anchor_code(tokens: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """(..., anchors): the cosine of every vector (..., dim) with every anchor (anchors, dim); not normalised."""
    bank = F.normalize(anchors, dim=1)
    return F.normalize(tokens.to(bank.dtype), dim=-1) @ bank.T


def _pool(
    tokens: torch.Tensor, bank: torch.Tensor, real: torch.Tensor | None, temperature: float, pooling: Pooling
) -> torch.Tensor:
    """`bank` has unit rows."""
    cosines = _unit_tokens(tokens, real, bank.dtype) @ bank.T
    if pooling == "mean":
        return F.normalize(cosines.sum(dim=1), dim=1)
    logits = _masked(cosines / temperature, real)
    return F.normalize((torch.softmax(logits, dim=1) * cosines).sum(dim=1), dim=1)


def _unit_tokens(tokens: torch.Tensor, real: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor:
    """Unit vectors; a padded token becomes zeros, so that its cosines are 0 whatever it held."""
    z = tokens.to(dtype)
    if real is not None:
        z = z.masked_fill(~real[..., None], 0.0)
    return F.normalize(z, dim=2)


def _masked(logits: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
    """(batch, token, ...) logits with padding at minus infinity."""
    if real is None:
        return logits
    return logits.masked_fill(~real.view(*real.shape, *[1] * (logits.ndim - 2)), -torch.inf)
