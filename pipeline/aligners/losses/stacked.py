"""InfoNCE and R_S of several runs at once: what `info_nce` and `structure_loss` give for each, to rounding.

Every tensor has a leading run dimension. Small batches spend their time between the products: here each operation is
started once for all runs. The gradients are made in the forward pass, as there.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from structure.pipeline.aligners.losses.contrastive import exp_, log_sum
from structure.pipeline.aligners.losses.similarity_space import SimilaritySpace
from structure.pipeline.aligners.losses.structure_gradients import divergence_of, through_softmax
from structure.pipeline.aligners.products import by_transpose


def stacked_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """W x + b of each run (run, n, dim) for rows (run, n, width), `weight` (run, dim, width) and `bias` (run, dim)."""
    out: torch.Tensor = _Linear.apply(x, weight, bias)
    return out


def stacked_info_nce(images: torch.Tensor, texts: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """InfoNCE of each run (run,), differentiable in the raw embeddings (run, n, dim)."""
    left, right = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
    loss: torch.Tensor = _StackedInfoNCE.apply(left / temperature, right)
    return loss


def stacked_structure_loss(frozen: torch.Tensor, after: torch.Tensor, space: SimilaritySpace) -> torch.Tensor:
    """R_S at level 1 of each run (run,), by Jensen-Shannon and cosines, differentiable in the raw rows (run, n, dim).

    `frozen` (run, n, n) is what `frozen_softmax` makes of the frozen rows.
    """
    loss: torch.Tensor = _Structure.apply(space.place(after), frozen, space)
    return loss


@torch.no_grad()
def frozen_softmax(before: torch.Tensor, space: SimilaritySpace) -> torch.Tensor:
    """Row softmax (run, n, n) of the similarities of frozen rows (run, n, width)."""
    z = space.place(before)
    return torch.softmax(space.logits(z, z), dim=-1)


class _Linear(torch.autograd.Function):
    """F.linear with a leading run dimension."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return by_transpose(x, weight).add_(bias[:, None])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = by_transpose(upstream, weight.mT) if ctx.needs_input_grad[0] else None
        return of_x, by_transpose(upstream.mT, x.mT), upstream.sum(dim=1)


class _StackedInfoNCE(torch.autograd.Function):
    """As in `contrastive`."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        logits = by_transpose(a, b)
        of_rows, of_columns = log_sum(logits, -1), log_sum(logits, -2)
        loss = (of_rows + of_columns).mean(dim=-1) / 2 - (a * b).sum(dim=-1).mean(dim=-1)
        if any(ctx.needs_input_grad):
            pull = exp_(logits - of_rows[..., None]).add_(exp_(logits.sub_(of_columns[:, None])))
            pull.diagonal(dim1=-2, dim2=-1).sub_(2)
            grads = by_transpose(pull, b.mT), by_transpose(pull.mT, a.mT)
            ctx.save_for_backward(*(grad.div_(2 * a.shape[1]) for grad in grads))
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        grad_a, grad_b = ctx.saved_tensors
        return grad_a * upstream[:, None, None], grad_b * upstream[:, None, None]


class _Structure(torch.autograd.Function):
    """As `Tiled` in `structure_gradients`."""

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, frozen: torch.Tensor, space: SimilaritySpace) -> torch.Tensor:
        rows = z.shape[1]
        slope = ctx.needs_input_grad[0]
        q = torch.softmax(space.logits(z, z), dim=-1)
        total, change = divergence_of(frozen, q, "js", slope=slope)
        if change is not None:
            pull = through_softmax(q, change)
            product = by_transpose(pull + pull.mT, z.mT)
            ctx.save_for_backward(space.to_rows(product, pull.sum(dim=-1), z).div_(rows))
        return total / rows

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return grad * upstream[:, None, None], None, None
