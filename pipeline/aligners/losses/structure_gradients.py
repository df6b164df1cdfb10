"""Value and gradient of R_S by row tiles: level 1 without a square buffer, levels above it with the powers they need.

With G_ij = q_ij (g_ij - sum_k q_ik g_ik) / N and g the slope of the divergence in q, the gradient in Z is that of
`SimilaritySpace.to_rows` for V = G + G^T. Above 4,096 rows nothing of size N x N is held at level 1: a tile of G gives
its rows of the product V Z and its share of the others. Up to 4,096 rows S of `after` is held, and the upper half
of the frozen S (96 MB at most): symmetry then halves the products, half of each S, one product with V instead of two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from structure.pipeline.aligners.losses.choices import Divergence
from structure.pipeline.aligners.losses.similarity_space import SimilaritySpace
from structure.pipeline.aligners.products import by_transpose

SoftmaxRows = Callable[[slice], torch.Tensor]
"""Rows of a row softmax by their range; not to be written over."""

RELEASED_EPS = 1e-12
_TILE = {"cpu": 1 << 18}
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


def softmax_rows(z: torch.Tensor, space: SimilaritySpace) -> SoftmaxRows:
    """Rows of the row softmax of S, tile by tile on demand; where it may be held, from its upper half."""
    if len(z) ** 2 > _HELD:
        return lambda mine: torch.softmax(space.logits(z[mine], z), dim=1)
    starts = [start for start, _ in tiles(z)]
    sizes = [(stop - start) * (len(z) - start) for start, stop in tiles(z)]
    # One piece of memory: many small ones would leave gaps that the next square does not fit.
    pieces = torch.empty(sum(sizes), dtype=z.dtype, device=z.device).split(sizes)
    strips = [piece.view(-1, len(z) - start) for piece, start in zip(pieces, starts, strict=True)]
    for strip, (start, stop) in zip(strips, tiles(z), strict=True):
        strip.copy_(space.logits(z[start:stop], z[start:]))

    def rows(mine: slice) -> torch.Tensor:
        at = starts.index(mine.start)
        left = [
            strip[:, mine.start - start : mine.stop - start].T
            for start, strip in zip(starts[:at], strips, strict=False)
        ]
        return torch.softmax(torch.cat([*left, strips[at]], dim=1), dim=1)

    return rows


def all_logits(z: torch.Tensor, space: SimilaritySpace) -> torch.Tensor:
    """S (N, N), strip by strip above the diagonal and mirrored: half the work of the product."""
    out = torch.empty(len(z), len(z), dtype=z.dtype, device=z.device)
    for start in range(0, len(z), _STRIP):
        stop = start + _STRIP
        out[start:stop, start:] = space.logits(z[start:stop], z[start:])
        for right in range(stop, len(z), _STRIP):
            out[right : right + _STRIP, start:stop] = out[start:stop, right : right + _STRIP].T
    return out


def _add_transpose(square: torch.Tensor) -> torch.Tensor:
    """G + G^T, in place, by blocks that fit the cache."""
    for top in range(0, len(square), _STRIP):
        for left in range(top, len(square), _STRIP):
            above = square[top : top + _STRIP, left : left + _STRIP]
            below = square[left : left + _STRIP, top : top + _STRIP]
            # A new block: adding in place would read what it has already written.
            both = below.T.clone(memory_format=torch.contiguous_format).add_(above)
            above.copy_(both)
            below.copy_(both.T)
    return square


def divergence_of(
    p: torch.Tensor, q: torch.Tensor, divergence: Divergence, *, slope: bool = False
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Sum over all entries of the divergence of two softmaxes, and its derivative in q entry by entry.

    Jensen-Shannon through log(p / m) = log(1 + d) and log(q / m) = log(1 - d), d = (p - q) / (p + q), m = (p + q) / 2:
    exact where p and q are close, finite where one of them is 0 in floating point, and two logarithms are all that it
    takes. d JS / d q = log(q / m) / 2.
    """
    if divergence == "js":
        numbers = torch.finfo(p.dtype)
        most = 1 - numbers.eps / 2
        apart = torch.sub(p, q).div_(torch.add(p, q).clamp_min_(numbers.tiny)).clamp_(-most, most)
        q_over_m = apart.neg().log1p_()
        total = (_dot(p, apart.log1p_()) + _dot(q, q_over_m)) / 2
        return total, q_over_m.div_(2) if slope else None
    raised, other = q + RELEASED_EPS, p + RELEASED_EPS
    m = (other + raised).div_(2)
    excess = m.log().sub_(other.log_(), alpha=0.5).sub_(raised.log(), alpha=0.5)
    return _dot(m, excess), excess.add_(1).sub_(m.div_(raised)).div_(2) if slope else None


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Sum of the products of all entries."""
    return torch.vdot(a.reshape(-1), b.reshape(-1))


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
    def forward(ctx: Any, z: torch.Tensor, of_p: SoftmaxRows, how: Comparison) -> torch.Tensor:
        space, weights, margin = how.space, how.weights, how.margin
        slope = ctx.needs_input_grad[0]
        rows = len(z)
        total = z.new_zeros(())
        held = rows * rows <= _HELD
        of_q = all_logits(z, space) if held else z
        product = torch.zeros_like(z) if slope and not held else None
        degrees = z.new_zeros(rows)
        for start, stop in tiles(z):
            mine = slice(start, stop)
            logits = of_q[mine] if held else space.logits(z[mine], z)
            q = torch.softmax(logits, dim=1)
            part, change = divergence_of(of_p(mine), q, how.divergence, slope=slope)
            total += part
            if change is None:
                continue
            pull = space.pull(_through_softmax(q, change), logits)
            if product is None:
                of_q[mine] = pull
            else:
                product[mine].addmm_(pull, z)
                product.addmm_(pull.T, z[mine])
                degrees[mine] += pull.sum(dim=1)
                degrees += pull.sum(dim=0)
        if slope and held:
            both = _add_transpose(of_q)
            degrees = both.sum(dim=1)
            product = by_transpose(both, z.T)
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
    def forward(ctx: Any, z: torch.Tensor, of_p: SoftmaxRows, how: Comparison) -> torch.Tensor:
        space, weights, margin = how.space, how.weights, how.margin
        slope = ctx.needs_input_grad[0]
        rows = len(z)
        first = torch.cat([of_p(slice(*tile)) for tile in tiles(z)])
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
                part, tile = divergence_of(power[start:stop], powers[level][start:stop], how.divergence, slope=slope)
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
