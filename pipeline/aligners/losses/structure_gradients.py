"""Value and gradient of R_S by row tiles: level 1 without a square buffer, levels above it with the powers they need.

With G_ij = q_ij (g_ij - sum_k q_ik g_ik) / N and g the slope of the divergence in q, the gradient in Z is that of
`SimilaritySpace.to_rows` for V = G + G^T. Above 4,096 rows nothing of size N x N is held at level 1: a tile of G gives
its rows of the product V Z and its share of the others. Up to 4,096 rows S of `after` is held, and the upper half
of the frozen S (96 MB at most): symmetry then halves the products, half of each S, one product with V instead of two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from structure.pipeline.aligners.losses.choices import Divergence
from structure.pipeline.aligners.losses.similarity_space import SimilaritySpace
from structure.pipeline.aligners.square_blocks import BLOCK, add_transpose_, mirror_
from structure.pipeline.float32_products import by_transpose

RELEASED_EPS = 1e-12
_TILE = {"cpu": 1 << 18}
"""Elements of one tile: on a CPU a few tiles must fit the cache, elsewhere they should fill the device."""

_HELD = 1 << 24
"""Elements of a square matrix that may be held at level 1."""


class SoftmaxRows(Protocol):
    """Rows of a row softmax by their range, written into `out` where they are made; not to be written over."""

    def __call__(self, mine: slice, out: torch.Tensor | None = None, /) -> torch.Tensor: ...


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
    """Rows of the row softmax of S, tile by tile on demand; where S may be held, from its upper half."""
    if len(z) ** 2 <= _HELD:
        return _rows_of_half(z, space)
    return lambda mine, out=None: torch.softmax(space.logits(z[mine], z), dim=1, out=out)


def _rows_of_half(z: torch.Tensor, space: SimilaritySpace) -> SoftmaxRows:
    """The same of strips above the diagonal, once and in order: `z` is not kept, the strips go with the last rows."""
    count = len(z)
    starts = range(0, count, BLOCK)
    sizes = [min(BLOCK, count - start) * (count - start) for start in starts]
    # One piece of memory: many small ones would leave gaps that the next square does not fit.
    pieces = torch.empty(sum(sizes), dtype=z.dtype, device=z.device).split(sizes)
    strips = [piece.view(-1, count - start) for piece, start in zip(pieces, starts, strict=True)]
    for strip, start in zip(strips, starts, strict=True):
        strip.copy_(space.logits(z[start : start + BLOCK], z[start:]))

    def rows(mine: slice, out: torch.Tensor | None = None) -> torch.Tensor:
        top, end = mine.start, mine.stop
        logits = strips[0].new_empty(end - top, count) if out is None else out
        for strip, start in zip(strips, starts, strict=True):
            stop = start + len(strip)
            first, below = max(top, start), max(top, stop)
            if below < end:
                logits[below - top :, start:stop] = strip[:, below - start : end - start].T
            if first < min(end, stop):
                logits[first - top : stop - top, start:] = strip[first - start : end - start]
        if end == count:
            strips.clear()
        return torch.softmax(logits, dim=1, out=out)

    return rows


def all_logits(z: torch.Tensor, space: SimilaritySpace) -> torch.Tensor:
    """S (N, N), strip by strip above the diagonal and mirrored: half the work of the product."""
    out = torch.empty(len(z), len(z), dtype=z.dtype, device=z.device)
    for start in range(0, len(z), BLOCK):
        out[start : start + BLOCK, start:] = space.logits(z[start : start + BLOCK], z[start:])
    return mirror_(out)


def divergence_of(
    p: torch.Tensor,
    q: torch.Tensor,
    divergence: Divergence,
    *,
    slope: bool = False,
    into: tuple[torch.Tensor, torch.Tensor] | tuple[None, None] = (None, None),
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Sum over all entries of the divergence of two softmaxes, and its derivative in q entry by entry.

    Jensen-Shannon through log(p / m) = log(1 + d) and log(q / m) = log(1 - d), d = (p - q) / (p + q), m = (p + q) / 2:
    exact where p and q are close, finite where one of them is 0 in floating point, and two logarithms are all that it
    takes. d JS / d q = log(q / m) / 2. It is made `into` two tensors of this shape, the derivative in the second.
    """
    if divergence == "js":
        numbers = torch.finfo(p.dtype)
        most = 1 - numbers.eps / 2
        both = torch.add(p, q, out=into[1]).clamp_min_(numbers.tiny)
        apart = torch.sub(p, q, out=into[0]).div_(both).clamp_(-most, most)
        q_over_m = torch.neg(apart, out=both).log1p_()
        total = (_dot(p, apart.log1p_()) + _dot(q, q_over_m)) / 2
        return total, q_over_m.div_(2) if slope else None
    raised, other = q + RELEASED_EPS, p + RELEASED_EPS
    m = (other + raised).div_(2)
    excess = m.log().sub_(other.log_(), alpha=0.5).sub_(raised.log(), alpha=0.5)
    return _dot(m, excess), excess.add_(1).sub_(m.div_(raised)).div_(2) if slope else None


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Sum of the products of all entries."""
    return torch.vdot(a.reshape(-1), b.reshape(-1))


def _through_softmax(q: torch.Tensor, slope: torch.Tensor, spare: torch.Tensor | None = None) -> torch.Tensor:
    """Gradient in the logits of a row softmax, written over `slope`; `spare` is a tensor to use."""
    return slope.sub_(torch.mul(q, slope, out=spare).sum(dim=1, keepdim=True)).mul_(q)


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
        # The same memory for every tile: the system would clear that of new ones each time.
        made = [z.new_empty(next(tiles(z))[1], rows) for _ in range(4)]
        for start, stop in tiles(z):
            mine = slice(start, stop)
            logits = of_q[mine] if held else space.logits(z[mine], z)
            q, p, *into = (one[: stop - start] for one in made)
            torch.softmax(logits, dim=1, out=q)
            part, change = divergence_of(of_p(mine, p), q, how.divergence, slope=slope, into=(into[0], into[1]))
            total += part
            if change is None:
                continue
            pull = space.pull(_through_softmax(q, change, into[0]), logits)
            if product is None:
                of_q[mine] = pull
            else:
                product[mine].addmm_(pull, z)
                product.addmm_(pull.T, z[mine])
                degrees[mine] += pull.sum(dim=1)
                degrees += pull.sum(dim=0)
        if slope and held:
            both = add_transpose_(of_q)
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
            both = add_transpose_(space.pull(slope_of_logits, logits))
            ctx.save_for_backward(space.to_rows(both @ z, both.sum(dim=1), z))
        return loss
