"""Work on many tokens in pieces, so that no tensor of (batch, token, something) is ever held whole."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

_MOST = {"cpu": 1 << 21}
"""Elements of one (rows, token, width) tensor that are held at once, forward or backward; 2^26 on other devices."""

Pooling = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]


def in_pieces(pool: Pooling, values: torch.Tensor, mask: torch.Tensor | None, *, width: int) -> torch.Tensor:
    """`pool(values, mask)` over rows, some at a time: (rows, token, d), (rows, token) -> (rows, dim).

    `width` is the widest tensor per token that `pool` makes. With gradients each piece is computed again in backward,
    so that only the result (rows, dim) is kept; the gradient is exact.
    """
    each = max(1, values.shape[1]) * max(width, values.shape[2])
    step = max(1, _MOST.get(values.device.type, 1 << 26) // each)
    pieces = []
    for start in range(0, len(values), step):
        rows = values[start : start + step]
        kept = None if mask is None else mask[start : start + step]
        if step >= len(values) or not torch.is_grad_enabled():
            pieces.append(pool(rows, kept))
        else:
            pieces.append(checkpoint(pool, rows, kept, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(pieces)
