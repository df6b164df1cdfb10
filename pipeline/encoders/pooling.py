"""From a layer's hidden states to one vector a row: cls, mean, last, max; masked, in float32."""

from __future__ import annotations

import torch

from structure.pipeline.encoders.layer import POOLINGS, Pooling

__all__ = ["POOLINGS", "Pooling", "pool"]


def pool(values: torch.Tensor, kind: Pooling, *, mask: torch.Tensor | None = None, prefix: int = 0) -> torch.Tensor:
    """Pool `(batch, token, width)` or `(batch, channel, height, width)` to `(batch, width)` float32.

    `mask` is (batch, token), True = real. `cls` is the first real token (a left-padded row does not start at 0),
    `last` the last real one; `mean` and `max` see real tokens only, and of a vision transformer only the patches: the
    first `prefix` tokens (CLS, registers) are left out. A feature map has no CLS token: `cls` and `last` raise
    ValueError there. Padded positions may hold anything, NaN and infinity included.
    """
    if values.ndim == 4:
        if kind == "mean":
            return values.float().mean(dim=(2, 3))
        if kind == "max":
            return values.float().amax(dim=(2, 3))
        raise ValueError(f"a feature map (batch, channel, height, width) has no {kind!r} token: pool mean or max")
    if mask is None:
        if kind == "cls":
            return values[:, 0].float()
        if kind == "last":
            return values[:, -1].float()
        patches = values[:, prefix:].float()
        return patches.mean(dim=1) if kind == "mean" else patches.amax(dim=1)
    mask = mask.to(torch.bool)
    rows = torch.arange(len(values), device=values.device)
    if kind == "cls":
        return values[rows, mask.int().argmax(dim=1)].float()
    if kind == "last":
        return values[rows, mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)].float()
    values, mask = values[:, prefix:], mask[:, prefix:]
    if kind == "max":
        return values.float().masked_fill(~mask[..., None], -torch.inf).amax(dim=1)
    kept = values.float().masked_fill(~mask[..., None], 0.0)
    return kept.sum(dim=1) / mask.sum(dim=1, keepdim=True)
