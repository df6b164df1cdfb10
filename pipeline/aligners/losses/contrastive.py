"""Contrastive losses of paired embeddings: row i of one side belongs to row i of the other, the batch is the negatives.

Both work on row tiles of the logits and make their gradients in the forward pass, so that a batch of 32,768 needs
no N x N buffer. InfoNCE goes over the tiles twice; up to 4,096 rows it holds the logits (64 MB at most) in between, and
takes their exponentials once.
Rows are L2-normalised here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from structure.pipeline.aligners.arrays import Array, as_tensor, computing_dtype
from structure.pipeline.aligners.square_blocks import transpose_
from structure.pipeline.float32_products import by_transpose

_TILE = {"cpu": 1 << 20}
_HELD = 1 << 24
"""Elements of the logits that may be held."""

_SPREAD = 64.0
"""How far below the largest logit of all that of a row or column may lie for one exponential to serve all of them:
float32 ends at e^-87, and what is e^-16 of a sum does not count."""


def info_nce(a: Array, b: Array, *, temperature: float | torch.Tensor = 0.05) -> torch.Tensor:
    """Symmetric InfoNCE: the mean of both cross-entropies of norm(a) norm(b)^T / temperature against the diagonal.

    `a`, `b` are (N, dim), raw; a 0-d loss, differentiable in both and in `temperature` if that is a tensor. Source:
    van den Oord et al., arXiv 1807.03748, eq. 4, in the two directions of CLIP (arXiv 2103.00020, figure 3).
    """
    left, right = _unit_pair(a, b)
    with torch.autocast(left.device.type, enabled=False):
        left = left / temperature
        loss: torch.Tensor = _InfoNCE.apply(left, right)
    return loss


def sigmoid_loss(
    a: Array, b: Array, *, scale: float | torch.Tensor = 20.0, bias: float | torch.Tensor = -10.0
) -> torch.Tensor:
    """Pairwise sigmoid loss: every pair is a yes/no question. Sum over all pairs, divided by N.

    -1/N sum_ij log sigmoid(z_ij (scale cos(a_i, b_j) + bias)), z = 1 on the diagonal and -1 elsewhere. `a`, `b` are
    (N, dim), raw; differentiable in both, and in `scale` and `bias` if those are tensors. Source: Zhai et al.,
    arXiv 2303.15343, eq. 2; scale 20 and bias -10 are SAIL's (arXiv 2412.04616).
    """
    left, right = _unit_pair(a, b)
    with torch.autocast(left.device.type, enabled=False):
        shift = torch.as_tensor(bias, dtype=left.dtype, device=left.device)
        loss: torch.Tensor = _Sigmoid.apply(left * scale, right, shift)
    return loss


def _unit_pair(a: Array, b: Array) -> tuple[torch.Tensor, torch.Tensor]:
    left, right = as_tensor(a), as_tensor(b)
    if left.ndim != 2 or left.shape != right.shape or not len(left):
        raise ValueError(f"paired embeddings must have one shape (N, dim): {tuple(left.shape)}, {tuple(right.shape)}")
    dtype = computing_dtype(left, right)
    return F.normalize(left.to(dtype), dim=1), F.normalize(right.to(left.device, dtype), dim=1)


def _tiles(rows: int, columns: torch.Tensor) -> Iterator[tuple[int, int]]:
    step = max(64, min(rows, _TILE.get(columns.device.type, 1 << 26) // rows))
    for start in range(0, rows, step):
        yield start, min(rows, start + step)


class _InfoNCE(torch.autograd.Function):
    """With r, c the log-sum-exp of rows and columns: d loss / d s_ij = (e^(s - r_i) + e^(s - c_j) - 2 [i = j]) / 2N."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        wanted = any(ctx.needs_input_grad)
        found = _of_held(a, b, slope=wanted) if len(a) ** 2 <= _HELD else None
        of_rows, of_columns, *grads = found or _of_tiles(a, b, slope=wanted)
        if wanted:
            ctx.save_for_backward(*(grad.div_(2 * len(a)) for grad in grads))
        return (of_rows + of_columns).mean() / 2 - (a * b).sum(dim=1).mean()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        grad_a, grad_b = ctx.saved_tensors
        return grad_a * upstream, grad_b * upstream


def _of_held(a: torch.Tensor, b: torch.Tensor, *, slope: bool) -> tuple[torch.Tensor, ...] | None:
    """r, c and 2N times the gradients (none without `slope`) of logits that are held; None where they lie so far apart
    that no exponential serves all rows and columns."""
    held = by_transpose(a, b)
    most = held.amax(dim=0)
    top, lowest = most.max(), torch.minimum(held.amax(dim=1).min(), most.min())
    if not top - lowest <= _SPREAD:
        return None
    tiles = list(_tiles(len(a), b))
    sums = [held.new_zeros(len(a)), held.new_zeros(len(a))]
    for start, stop in tiles:
        mine = _exp_(held[start:stop].sub_(top))
        sums[0][start:stop] = mine.sum(dim=1)
        sums[1] += mine.sum(dim=0)
    logs = tuple(each.log() + top for each in sums)
    if not slope:
        return logs
    shares = [each.reciprocal_() for each in sums]
    for start, stop in tiles:
        mine = held[start:stop].mul_(shares[0][start:stop, None] + shares[1])
        mine[:, start:stop].diagonal().sub_(2)
    return *logs, by_transpose(held, b.T), by_transpose(transpose_(held), a.T)


def _of_tiles(a: torch.Tensor, b: torch.Tensor, *, slope: bool) -> tuple[torch.Tensor, ...]:
    """The same, of logits that are made twice, tile by tile."""
    tiles = list(_tiles(len(a), b))
    of_rows = torch.empty(len(a), dtype=a.dtype, device=a.device)
    of_columns = torch.full_like(of_rows, -torch.inf)
    for start, stop in tiles:
        logits = by_transpose(a[start:stop], b)
        of_rows[start:stop] = _log_sum(logits, 1)
        of_columns = torch.logaddexp(of_columns, _log_sum(logits, 0))
    if not slope:
        return of_rows, of_columns
    grad_a, grad_b = torch.empty_like(a), torch.zeros_like(b)
    for start, stop in tiles:
        logits = by_transpose(a[start:stop], b)
        pull = _exp_(logits - of_rows[start:stop, None]).add_(_exp_(logits.sub_(of_columns)))
        pull[:, start:stop].diagonal().sub_(2)
        grad_a[start:stop] = pull @ b
        grad_b.addmm_(pull.T, a[start:stop])
    return of_rows, of_columns, grad_a, grad_b


def _log_sum(logits: torch.Tensor, dim: int) -> torch.Tensor:
    """Log of the sum of e^logits along `dim`."""
    most = logits.amax(dim=dim, keepdim=True)
    return _exp_(logits - most).sum(dim=dim).log_().add_(most.squeeze(dim))


def _exp_(x: torch.Tensor) -> torch.Tensor:
    """e^x in place: torch takes powers of 2 three times as fast, exact at 0 and to a few units in the last place of
    the numbers that count."""
    return x.mul_(math.log2(math.e)).exp2_()


class _Sigmoid(torch.autograd.Function):
    """d loss / d s_ij = (sigmoid(s_ij) - [i = j]) / N."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        rows = len(a)
        wanted = any(ctx.needs_input_grad)
        grad_a, grad_b = torch.empty_like(a), torch.zeros_like(b)
        loss, grad_bias = a.new_zeros(()), a.new_zeros(())
        for start, stop in _tiles(rows, b):
            logits = torch.addmm(bias, a[start:stop], b.T)
            loss += F.softplus(logits).sum() - logits[:, start:stop].diagonal().sum()
            if wanted:
                pull = logits.sigmoid_()
                pull[:, start:stop].diagonal().sub_(1)
                grad_a[start:stop] = pull @ b
                grad_b.addmm_(pull.T, a[start:stop])
                grad_bias += pull.sum()
        if wanted:
            ctx.save_for_backward(grad_a.div_(rows), grad_b.div_(rows), grad_bias.div_(rows))
        return loss / rows

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(grad * upstream for grad in ctx.saved_tensors)
