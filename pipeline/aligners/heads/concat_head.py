"""A head over several layers: what makes them comparable, then a head over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from structure.pipeline.aligners.heads.head import Head
from structure.pipeline.aligners.heads.kinds import make_head


def unit_layers(x: torch.Tensor, widths: Sequence[int]) -> torch.Tensor:
    """(rows, sum of the widths): the numbers of each layer scaled to unit length."""
    return torch.cat([F.normalize(layer, dim=1) for layer in x.split(list(widths), dim=1)], dim=1)


def centred_layers(unit: torch.Tensor, mean: torch.Tensor, widths: Sequence[int]) -> torch.Tensor:
    """(rows, sum of the widths): unit layers without their `mean`, which all rows of a layer share, unit again."""
    return unit_layers(unit - mean, widths)


class ConcatHead(Head):
    """z = inner(unit(unit(x) - mean)), unit for the numbers of each layer of `widths`, `mean` of the training rows.

    `x` (rows, sum of the widths) are the layers side by side, rows of any length. `inner`: `kind` and `settings` of the
    head that follows.
    """

    kind = "concat"

    def __init__(self, width: int, dim: int, *, widths: Sequence[int], inner: Mapping[str, Any]) -> None:
        super().__init__(width, dim, widths=list(widths), inner=dict(inner))
        self.mean = nn.Buffer(torch.zeros(width))
        self.inner = make_head(inner["kind"], width, dim, **inner["settings"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        widths = self.settings["widths"]
        z: torch.Tensor = self.inner(centred_layers(unit_layers(x, widths), self.mean, widths))
        return z

    @classmethod
    def before(cls, inner: Head, *, widths: Sequence[int], mean: torch.Tensor) -> ConcatHead:
        """The step before a head that was fitted to what it gives, on that head's device."""
        made = cls(inner.width, inner.dim, widths=widths, inner={"kind": inner.kind, "settings": inner.settings})
        made.inner, made.mean = inner, nn.Buffer(mean.clone())
        made.to(next(iter(inner.state_dict().values())).device).eval().requires_grad_(False)
        return made
