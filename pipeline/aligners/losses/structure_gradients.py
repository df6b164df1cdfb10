"""Value and gradient of R_S by row tiles: level 1 without a square buffer, levels above it with the powers they need.

With G_ij = q_ij (g_ij - sum_k q_ik g_ik) / N and g the slope of the divergence in q, the gradient in Z is that of
`SimilaritySpace.to_rows` for V = G + G^T. Above 4,096 rows nothing of size N x N is held at level 1: a tile of G gives
its rows of the product V Z and its share of the others. Up to 4,096 rows S of `after` is held, and the upper half
of the frozen S (96 MB at most): symmetry then halves the products, half of each S, one product with V instead of two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from structure.pipeline.aligners.losses.choices import Divergence
from structure.pipeline.aligners.losses.similarity_space import SimilaritySpace

LogRows = Callable[[slice], torch.Tensor]

RELEASED_EPS = 1e-12
_TILE = {"cpu": 1 << 19}
"""Elements of one tile: on a CPU a few tiles must fit the cache, elsewhere they should fill the device."""

_HELD = 1 << 24
"""Elements of a square matrix that may be held at level 1."""
_STRIP = 256


@dataclass(frozen=True)
class Comparison:
    """How two row softmaxes are compared: in which space, by which divergence, with the weight of each level, of whose
    values the `margin` is subtracted first."""

    space: SimilaritySpace
    divergence: Divergence
    weights: Sequence[float]
    margin: float


def tiles(z: torch.Tensor) -> Iterator[tuple[int, int]]:
    """Row ranges of one tile each."""
    rows = len(z)
    step = max(64, min(rows, _TILE.get(z.device.type, 1 << 25) // rows))
    for start in range(0, rows, step):
        yield start, min(rows, start + step)


def log_rows(z: torch.Tensor, space: SimilaritySpace) -> LogRows:
    """Rows of the log of the row softmax of S, tile by tile on demand; where it may be held, from its upper half."""
    if len(z) ** 2 > _HELD:
        return lambda mine: torch.log_softmax(space.logits(z[mine], z), dim=1)
    starts = [start for start, _ in tiles(z)]
    strips = [space.logits(z[start:stop], z[start:]) for start, stop in tiles(z)]

    def rows(mine: slice) -> torch.Tensor:
        at = starts.index(mine.start)
        left = [
            strip[:, mine.start - start : mine.stop - start].T
            for start, strip in zip(starts[:at], strips, strict=False)
        ]
        return torch.log_softmax(torch.cat([*left, strips[at]], dim=1), dim=1)

    return rows


def all_logits(z: torch.Tensor, space: SimilaritySpace) -> torch.Tensor:
    """S (N, N), strip by strip above the diagonal and mirrored: half the work of the product."""
    out = torch.empty(len(z), len(z), dtype=z.dtype, device=z.device)
    for start in range(0, len(z), _STRIP):
        stop = start + _STRIP
        space.logits(z[start:stop], z[start:], out=out[start:stop, start:])
        out[stop:, start:stop] = out[start:stop, stop:].T
    return out


def _add_transpose(square: torch.Tensor) -> torch.Tensor:
    """G + G^T, in place."""
    for start in range(0, len(square), _STRIP):
        stop = start + _STRIP
        # A new strip: adding in place would read what it has already written.
        strip = square[start:stop, start:] + square[start:, start:stop].T
        square[start:stop, start:] = strip
        square[start:, start:stop] = strip.T
    return square


def _compare(
    log_p: torch.Tensor, log_q: torch.Tensor, divergence: Divergence, *, slope: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Sum over all entries of the divergence, q, and its derivative in q entry by entry.

    Jensen-Shannon through log(q / m) = log 2 - softplus(log p - log q), m = (p + q) / 2: exact where p and q are
    close, finite where one of them is 0 in floating point. d JS / d q = log(q / m) / 2.
    """
    p, q = log_p.exp(), log_q.exp()
    if divergence == "js":
        gap = log_p - log_q
        q_over_m = F.softplus(gap, threshold=40).neg_().add_(math.log(2))
        p_over_m = gap.add_(q_over_m)
        total = (torch.vdot(p.view(-1), p_over_m.view(-1)) + torch.vdot(q.view(-1), q_over_m.view(-1))) / 2
        return total, q, q_over_m.div_(2) if slope else None
    p.add_(RELEASED_EPS)
    raised = q + RELEASED_EPS
    m = (p + raised).div_(2)
    excess = m.log().sub_(p.log_(), alpha=0.5).sub_(raised.log(), alpha=0.5)
    total = torch.vdot(m.view(-1), excess.view(-1))
    return total, q, excess.add_(1).sub_(m.div_(raised)).div_(2) if slope else None


def _through_softmax(q: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """Gradient in the logits of a row softmax, written over `slope`."""
    return slope.sub_((q * slope).sum(dim=1, keepdim=True)).mul_(q)


class _MadeForward(torch.autograd.Function):
    """The gradient in `z`, the first argument, is made in the forward pass, and only scaled in backward."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return grad * upstream, None, None


class Tiled(_MadeForward):
    """Level 1: the gradient is made while each tile is at hand."""

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, of_p: LogRows, how: Comparison) -> torch.Tensor:
        space, weights, margin = how.space, how.weights, how.margin
        slope = ctx.needs_input_grad[0]
        rows = len(z)
        total = z.new_zeros(())
        product = torch.zeros_like(z) if slope else None
        degrees = z.new_zeros(rows)
        held = rows * rows <= _HELD
        of_q = all_logits(z, space) if held else z
        for start, stop in tiles(z):
            mine = slice(start, stop)
            logits = of_q[mine] if held else space.logits(z[mine], z)
            part, q, change = _compare(of_p(mine), torch.log_softmax(logits, dim=1), how.divergence, slope=slope)
            total += part
            if product is None or change is None:
                continue
            pull = space.pull(_through_softmax(q, change), logits)
            if held:
                of_q[mine] = pull
            else:
                product[mine].addmm_(pull, z)
                product.addmm_(pull.T, z[mine])
                degrees[mine] += pull.sum(dim=1)
                degrees += pull.sum(dim=0)
        if product is not None and held:
            both = _add_transpose(of_q)
            torch.mm(both, z, out=product)
            degrees = both.sum(dim=1)
        value = total / rows
        above = (value > margin).to(z.dtype)
        if product is not None:
            ctx.save_for_backward(space.to_rows(product, degrees, z).mul_(above * (weights[0] / rows)))
        return (value - margin) * above * weights[0]


class Powers(_MadeForward):
    """Levels above 1: the powers of both matrices are dense.

    With D_l the slope in P^l, the slope in P is collected by l = L..2: dP += (P^(l-1))^T D_l; D_(l-1) += D_l P^T.
    """

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, of_p: LogRows, how: Comparison) -> torch.Tensor:
        space, weights, margin = how.space, how.weights, how.margin
        slope = ctx.needs_input_grad[0]
        rows = len(z)
        tiny = torch.finfo(z.dtype).tiny
        first = torch.cat([of_p(slice(*tile)) for tile in tiles(z)]).exp_()
        powers = [torch.softmax(all_logits(z, space), dim=1)]
        power = first
        loss = z.new_zeros(())
        slopes: list[torch.Tensor] = []
        for level, weight in enumerate(weights):
            if level:
                power = power @ first
                powers.append(powers[-1] @ powers[0])
            change = torch.empty_like(power) if slope else None
            value = z.new_zeros(())
            for start, stop in tiles(z):
                log_p = power[start:stop].clamp_min(tiny).log_()
                log_q = powers[level][start:stop].clamp_min(tiny).log_()
                part, _, tile = _compare(log_p, log_q, how.divergence, slope=slope)
                value += part / rows
                if change is not None and tile is not None:
                    change[start:stop] = tile
            above = (value > margin).to(z.dtype) * weight
            loss += (value - margin) * above
            if change is not None:
                slopes.append(change.mul_(above / rows))
        if slope:
            del power, first
            collected = slopes[-1]
            pull = torch.zeros_like(collected)
            for level in range(len(weights) - 1, 0, -1):
                pull.addmm_(powers[level - 1].T, collected)
                powers.pop()
                collected = slopes[level - 1].addmm_(collected, powers[0].T)
                slopes.pop()
            slope_of_logits = _through_softmax(powers.pop(), pull.add_(collected))
            logits = all_logits(z, space) if space.similarity == "rbf" else slope_of_logits
            both = _add_transpose(space.pull(slope_of_logits, logits))
            ctx.save_for_backward(space.to_rows(both @ z, both.sum(dim=1), z))
        return loss
