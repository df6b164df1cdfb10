"""Work on many tokens in pieces, so that no tensor of (batch, token, something) is ever held whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_MOST = {"cpu": 1 << 21}
"""Elements of one (rows, token, width) tensor that are held at once, forward or backward; 2^26 on other devices."""

Pooling = Callable[..., torch.Tensor]


def in_chunks(
    pool: Pooling, values: torch.Tensor, mask: torch.Tensor | None, *parameters: torch.Tensor, width: int
) -> torch.Tensor:
    """`pool(values, mask, *parameters)` over rows, some at a time: (rows, token, d), (rows, token) -> (rows, dim).

    `width` is the widest tensor per token that `pool` makes. Each piece is computed again in backward, so that only the
    result (rows, dim) is saved; the gradient of `values` and `parameters` is exact. `pool` must not reach for any other
    tensor that needs a gradient. Differentiable once.
    """
    each = max(1, values.shape[1]) * max(width, values.shape[2])
    step = max(1, _MOST.get(values.device.type, 1 << 26) // each)
    if step >= len(values):
        return pool(values, mask, *parameters)
    result: torch.Tensor = _Chunks.apply(pool, step, values, mask, *parameters)
    return result


class _Chunks(torch.autograd.Function):
    """torch's own checkpoint, once a piece, would keep every piece that backward has computed again until its end."""

    @staticmethod
    def forward(
        ctx: Any, pool: Pooling, step: int, values: torch.Tensor, mask: torch.Tensor | None, *parameters: torch.Tensor
    ) -> torch.Tensor:
        ctx.pool, ctx.step = pool, step
        ctx.save_for_backward(values, mask, *parameters)
        kind = values.device.type
        ctx.cast = {
            "device_type": kind,
            "dtype": torch.get_autocast_dtype(kind),
            "enabled": torch.is_autocast_enabled(kind),
        }
        return torch.cat(
            [
                pool(values[start : start + step], None if mask is None else mask[start : start + step], *parameters)
                for start in range(0, len(values), step)
            ]
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        values, mask, *parameters = ctx.saved_tensors
        wanted = [ctx.needs_input_grad[2], *ctx.needs_input_grad[4:]]
        of_values = torch.zeros_like(values) if wanted[0] else None
        sums = [torch.zeros_like(one) if need else None for one, need in zip(parameters, wanted[1:], strict=True)]
        for start in range(0, len(values), ctx.step):
            part = slice(start, start + ctx.step)
            inputs = [
                one.detach().requires_grad_(need) for one, need in zip((values[part], *parameters), wanted, strict=True)
            ]
            with torch.enable_grad(), torch.autocast(**ctx.cast):
                out = ctx.pool(inputs[0], None if mask is None else mask[part], *inputs[1:])
            needed = [one for one, need in zip(inputs, wanted, strict=True) if need]
            found = iter(torch.autograd.grad(out, needed, upstream[part]))
            if of_values is not None:
                of_values[part] = next(found)
            for total in sums:
                if total is not None:
                    total += next(found)
        return None, None, of_values, None, *sums
