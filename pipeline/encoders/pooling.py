"""Poolings: from a layer's hidden states to one vector a row. One entry of `POOLINGS` each; names, checks and help ask
it. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from structure.pipeline.encoders.layer import Form

if TYPE_CHECKING:
    import torch

Pooling = str
"""A key of `POOLINGS`."""


@dataclass(frozen=True)
class PoolingRule:
    """How one pooling works.

    `of_tokens(values, mask, prefix)`: (batch, token, width) -> (batch, width) float32; `mask` is (batch, token) bool,
    True = real, None = all real; the first `prefix` tokens are CLS and registers. `of_map`: (batch, channel, height,
    width) -> (batch, channel) float32, None where a feature map has no such value. `needs_cls`: whether a vision
    transformer without a CLS token has no such value. `meaning`: for people.
    """

    meaning: str
    of_tokens: Callable[[torch.Tensor, torch.Tensor | None, int], torch.Tensor]
    of_map: Callable[[torch.Tensor], torch.Tensor] | None = None
    needs_cls: bool = False


def _cls(values: torch.Tensor, mask: torch.Tensor | None, prefix: int) -> torch.Tensor:
    # A left-padded row does not start at 0.
    return values[:, 0].float() if mask is None else _token(values, mask.int().argmax(dim=1))


def _last(values: torch.Tensor, mask: torch.Tensor | None, prefix: int) -> torch.Tensor:
    if mask is None:
        return values[:, -1].float()
    return _token(values, mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1))


def _mean(values: torch.Tensor, mask: torch.Tensor | None, prefix: int) -> torch.Tensor:
    values = values[:, prefix:]
    if mask is None:
        return values.float().mean(dim=1)
    mask = mask[:, prefix:]
    return _zero_where_padded(values, mask).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def _max(values: torch.Tensor, mask: torch.Tensor | None, prefix: int) -> torch.Tensor:
    values = values[:, prefix:]
    if mask is None:
        return values.float().amax(dim=1)
    return values.float().masked_fill(~mask[:, prefix:, None], float("-inf")).amax(dim=1)


def _zero_where_padded(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(batch, token, width) float32 with 0 at padded positions, whatever they hold: their bits are cleared, which takes
    a third of the time of `masked_fill` on a CPU."""
    import torch

    kept = -mask.to(torch.int32)[..., None]  # all bits, or none
    return (values.float().contiguous().view(torch.int32) & kept).view(torch.float32)


def _token(values: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The token at `positions` (batch,) of each row."""
    import torch

    return values[torch.arange(len(values), device=values.device), positions].float()


POOLINGS: Mapping[Pooling, PoolingRule] = {
    "cls": PoolingRule("the first token", _cls, needs_cls=True),
    "mean": PoolingRule("the mean of the real tokens", _mean, lambda values: values.float().mean(dim=(2, 3))),
    "last": PoolingRule("the last real token", _last),
    "max": PoolingRule("the maximum of the real tokens", _max, lambda values: values.float().amax(dim=(2, 3))),
}


def poolings_of(form: Form, *, has_cls: bool = True) -> tuple[Pooling, ...]:
    """The poolings that a layer of this form has; `has_cls` is False for a vision transformer without a CLS token."""
    if form == "map":
        return tuple(name for name, rule in POOLINGS.items() if rule.of_map is not None)
    return tuple(name for name, rule in POOLINGS.items() if has_cls or not rule.needs_cls)


def pool(values: torch.Tensor, kind: Pooling, *, mask: torch.Tensor | None = None, prefix: int = 0) -> torch.Tensor:
    """Pool `(batch, token, width)` or `(batch, channel, height, width)` to `(batch, width)` float32.

    `mask` is (batch, token), True = real. `cls` is the first real token, `last` the last real one; `mean` and `max` see
    real tokens only, and of a vision transformer only the patches: the first `prefix` tokens (CLS, registers) are left
    out. A feature map has no CLS token: `cls` and `last` raise ValueError there. Padded positions may hold anything,
    NaN and infinity included.
    """
    rule = POOLINGS[kind]
    if values.ndim != 4:
        return rule.of_tokens(values, None if mask is None else mask.bool(), prefix)
    if rule.of_map is None:
        known = " or ".join(poolings_of("map"))
        raise ValueError(f"a feature map (batch, channel, height, width) has no {kind!r} token: pool {known}")
    return rule.of_map(values)
