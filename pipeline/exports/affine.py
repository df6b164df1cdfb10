"""Heads that are one matrix and one vector, and what carries them where an exported network has no place for a bias."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from structure.pipeline.aligners.heads.closed_heads import IdentityHead
from structure.pipeline.aligners.heads.head import Head
from structure.pipeline.aligners.heads.vector_heads import LinearHead, LowRankHead

TOLERANCE = 1e-5
"""Largest part of a bias that may be lost where a norm takes it over, relative to its length."""


@dataclass(frozen=True)
class Affine:
    """z = weight x + bias, float64. `weight` (dim, width), `bias` (dim,)."""

    weight: torch.Tensor
    bias: torch.Tensor

    def after(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Affine:
        """This map after another, x -> weight x + bias: one map again. `weight` (width, inputs)."""
        inner = weight.detach().double()
        shift = self.bias if bias is None else self.weight @ bias.detach().double() + self.bias
        return Affine(self.weight @ inner, shift)

    def shift(self) -> torch.Tensor | None:
        """(inputs,) s with weight s = bias, so that weight (x + s) = weight x + bias; None where there is none.

        There is one whenever the rows of the weight are independent, so for `dim` up to the number of inputs.
        """
        found = torch.linalg.lstsq(self.weight, self.bias[:, None], driver="gelsd").solution[:, 0]
        lost = (self.weight @ found - self.bias).norm()
        return found if lost <= TOLERANCE * self.bias.norm() else None


def as_affine(head: Head) -> Affine | None:
    """The head as one matrix and one vector; None for a head that bends (mlp, gated, an open gate, relative)."""
    if isinstance(head, LinearHead):
        return Affine(head.weight.detach().double(), head.bias.detach().double())
    if isinstance(head, IdentityHead):
        return Affine(torch.eye(head.width, dtype=torch.float64), -head.mean.detach().double())
    if isinstance(head, LowRankHead) and not (torch.sigmoid(head.gate) * head.weight2).any():
        return Affine(head.projection.detach().double(), torch.zeros(head.dim, dtype=torch.float64))
    return None
