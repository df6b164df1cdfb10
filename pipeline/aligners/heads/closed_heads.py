"""Heads that a closed form fills: nothing in them is trained."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from structure.pipeline.aligners.arrays import Array, as_tensor
from structure.pipeline.aligners.heads.head import Head
from structure.pipeline.aligners.kernel_csa_solver import KernelMap, kernel
from structure.store.errors import StructureError

AT_ONCE = 1 << 22
"""Cosines with anchors that are held at a time."""


class IdentityHead(Head):
    """z = x - mean: the side that closed forms map onto, and the control that does nothing but centre."""

    kind = "identity"

    def __init__(self, width: int, dim: int) -> None:
        if width != dim:
            raise StructureError(f"The identity head keeps the width: it cannot map {width} to {dim}.")
        super().__init__(width, dim)
        self.mean = nn.Buffer(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - self.mean


class RelativeHead(Head):
    """Relative representation: z_k ~ max(cos(x, anchor_k), 0)^exponent for the `keep` nearest anchors, 0 elsewhere.

    `anchors` (dim, width) are real rows. With all used and exponent 1 negative cosines stay (Moschella et al., arXiv
    2209.15430); with the 800 nearest and exponent 8 this is ASIF (Norelli et al., arXiv 2210.01738, section 3), up to
    the rows' lengths. A row without positive cosine is its nearest anchor, and a row of zeros stays one.
    """

    kind = "relative"
    holds_rows = True

    def __init__(self, width: int, dim: int, *, keep: int, exponent: int) -> None:
        super().__init__(width, dim, keep=keep, exponent=exponent)
        self.anchors = nn.Buffer(torch.zeros(dim, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, anchors = F.normalize(x, dim=1), F.normalize(self.anchors, dim=1)
        keep, exponent = self.settings["keep"], self.settings["exponent"]
        if keep >= self.dim and exponent == 1:
            return rows @ anchors.T
        if torch.compiler.is_compiling():  # an export to ONNX knows no loop over a number of rows that is open
            return _sparse(rows @ anchors.T, min(keep, self.dim), exponent)
        out = rows.new_empty(len(rows), self.dim)
        step = max(1, AT_ONCE // self.dim)
        for start in range(0, len(rows), step):
            out[start : start + step] = _sparse(rows[start : start + step] @ anchors.T, min(keep, self.dim), exponent)
        return out

    @classmethod
    @torch.no_grad()
    def of_anchors(cls, anchors: Array, *, keep: int, exponent: int) -> RelativeHead:
        """The head relative to these rows (dim, width), of which at most `keep` count."""
        rows = as_tensor(anchors).detach().float().cpu()
        head = cls(rows.shape[1], len(rows), keep=min(keep, len(rows)), exponent=exponent)
        head.anchors.copy_(rows)
        return head


def _sparse(cosines: torch.Tensor, keep: int, exponent: int) -> torch.Tensor:
    """(rows, anchors): powers of the `keep` largest cosines of each row over its largest, 0 elsewhere."""
    values, places = cosines.topk(keep, dim=1)
    # Over the largest: a power of small cosines has no length in float32, and length does not count.
    shares = values.clamp_min(0) / values[:, :1].clamp_min(torch.finfo(values.dtype).tiny)
    shares[:, 0] = (values[:, 0] != 0).to(shares)
    return torch.zeros_like(cosines).scatter_(1, places, shares**exponent)


class KernelHead(Head):
    """z = C k(x) + b, with k(x) the RBF kernel of x with `landmarks` real rows (see `kernel_csa`)."""

    kind = "kernel"
    holds_rows = True

    def __init__(self, width: int, dim: int, *, landmarks: int, gamma: float) -> None:
        super().__init__(width, dim, landmarks=landmarks, gamma=gamma)
        self.landmarks = nn.Buffer(torch.zeros(landmarks, width))
        self.coefficients, self.bias = nn.Buffer(torch.zeros(dim, landmarks)), nn.Buffer(torch.zeros(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(kernel(x, self.landmarks, self.settings["gamma"]), self.coefficients, self.bias)

    @classmethod
    @torch.no_grad()
    def of_map(cls, made: KernelMap) -> KernelHead:
        """The head of a fitted side."""
        rows, dim = made.landmarks, len(made.bias)
        head = cls(rows.shape[1], dim, landmarks=len(rows), gamma=made.gamma)
        head.landmarks.copy_(rows)
        head.coefficients.copy_(made.coefficients)
        head.bias.copy_(made.bias)
        return head


class WeightedHead(Head):
    """z = W x + b whose cosine with the other side is CSA's weighted similarity, sum_k rho_k u_k v_k of unit u and v.

    Each side carries the roots of |rho|, and in a place of its own what its row lacks to length 1: rows are unit, and
    every score by cosine is the weighted one. `place` is that of the rest, 0 or 1, after the dim - 2 weighted ones.
    """

    kind = "weighted"

    def __init__(self, width: int, dim: int, *, place: int) -> None:
        super().__init__(width, dim, place=place)
        self.weight, self.bias = nn.Buffer(torch.zeros(dim - 2, width)), nn.Buffer(torch.zeros(dim - 2))
        self.roots = nn.Buffer(torch.ones(dim - 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weighted = F.normalize(F.linear(x, self.weight, self.bias), dim=1) * self.roots
        rest = (1 - weighted.square().sum(dim=1, keepdim=True)).clamp_min(0).sqrt()
        nothing = torch.zeros_like(rest)
        return torch.cat([weighted, *((nothing, rest) if self.settings["place"] else (rest, nothing))], dim=1)

    @classmethod
    @torch.no_grad()
    def of_map(cls, projection: torch.Tensor, mean: torch.Tensor, rho: torch.Tensor, *, place: int) -> WeightedHead:
        """The head of u = (x - mean) @ projection, unit, under weights `rho` (dim,) within [-1, 1]; the second side
        (`place` 1) carries their signs."""
        head = cls(projection.shape[0], projection.shape[1] + 2, place=place)
        head.weight.copy_(projection.T)
        head.bias.copy_(-(mean @ projection))
        head.roots.copy_(rho.abs().clamp_max(1).sqrt() * (rho.sign() if place else 1))
        return head
