"""Token-level relative representations with attention pooling: PAL (arXiv 2605.16834)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from structure.pipeline.aligners.arrays import Array, as_tensor, computing_dtype

_MOST = 1 << 24
"""Elements of (batch, token, anchor) that are held at once, forward or backward."""


def anchor_profile(
    tokens: Array, anchors: Array, *, mask: Array | None = None, temperature: float = 0.03
) -> torch.Tensor:
    """Profile of each item over the anchors: (batch, anchors), unit rows, differentiable in both arguments.

    `tokens` (batch, token, dim), or (batch, dim) for a single vector each; `anchors` (anchors, dim), normalised here;
    `mask` (batch, token) bool, True = real: padding may hold anything, NaN included. With R = cos(token, anchor),
    weights = softmax over **tokens** of R / temperature per anchor, p = sum_t weights R, the profile is p / ||p||.
    The (batch, token, anchor) tensor is made in pieces and again in backward, never held whole.
    Raises ValueError where shapes disagree or an item has no real token.
    """
    z, bank = as_tensor(tokens), as_tensor(anchors)
    dtype = computing_dtype(z, bank) if z.is_floating_point() else torch.float32
    bank = F.normalize(bank.to(dtype), dim=1)
    z = z.to(bank.device, dtype)
    if z.shape[-1] != bank.shape[-1]:
        raise ValueError(f"tokens are {z.shape[-1]} wide, anchors {bank.shape[-1]}")
    if z.ndim == 2:
        return F.normalize(F.normalize(z, dim=1) @ bank.T, dim=1)
    real = None if mask is None else as_tensor(mask).to(bank.device, torch.bool)
    if real is not None:
        if real.shape != z.shape[:2]:
            raise ValueError(f"mask is {tuple(real.shape)}, tokens are {tuple(z.shape[:2])}")
        if not bool(real.any(dim=1).all()):
            raise ValueError("an item has no real token")
        z = z.masked_fill(~real[..., None], 0.0)
    step = max(1, _MOST // (z.shape[1] * len(bank)))
    pieces = []
    for start in range(0, len(z), step):
        rows = z[start : start + step]
        kept = None if real is None else real[start : start + step]
        if step >= len(z) or not torch.is_grad_enabled():
            pieces.append(_pool(rows, bank, kept, temperature))
        else:
            pieces.append(checkpoint(_pool, rows, bank, kept, temperature, use_reentrant=False))
    return torch.cat(pieces)


def _pool(tokens: torch.Tensor, bank: torch.Tensor, real: torch.Tensor | None, temperature: float) -> torch.Tensor:
    cosines = F.normalize(tokens, dim=2) @ bank.T
    logits = cosines / temperature
    if real is not None:
        logits = logits.masked_fill(~real[..., None], -torch.inf)
    return F.normalize((torch.softmax(logits, dim=1) * cosines).sum(dim=1), dim=1)
