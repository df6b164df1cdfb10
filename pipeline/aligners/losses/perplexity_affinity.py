"""A variant of R_S that is not the paper's: neighbourhoods of one perplexity, without the sample itself.

At temperature .05 the softmax of the frozen similarities often is nearly the identity, and R_S then has no gradient.
Here the diagonal is left out of both softmaxes, and the temperature of each is set so that a row has as many effective
neighbours, its perplexity, as asked for (as t-SNE sets its bandwidths: van der Maaten and Hinton, JMLR 9, 2008).
"""

from __future__ import annotations

import math

import torch

from structure.pipeline.aligners.arrays import Array, as_tensor, computing_dtype
from structure.pipeline.aligners.losses.similarity_space import SimilaritySpace

STEPS = 40
"""Halvings of the interval of log temperatures: far below the rounding of float32."""


def perplexity_loss(before: Array, after: Array, *, perplexity: float, space: SimilaritySpace) -> torch.Tensor:
    """Mean over rows of JS(P, Q), 0-d, in [0, log 2], differentiable in `after`.

    `before` (N, d) frozen, `after` (N, e), raw rows. P and Q are row softmaxes of the similarities of `space` without
    the diagonal, each at the temperature where the mean entropy of its rows is log `perplexity`; temperatures are
    constants for the gradient. Of N rows a perplexity is at most N - 1; it is cut to 9/10 of that. Needs N >= 3.
    """
    aligned = as_tensor(after)
    if len(aligned) < 3:
        raise ValueError(f"{len(aligned)} rows have no neighbourhoods")
    dtype = computing_dtype(aligned)
    most = min(perplexity, 0.9 * (len(aligned) - 1))
    with torch.autocast(aligned.device.type, enabled=False):
        with torch.no_grad():
            log_p = log_affinities(as_tensor(before).detach().to(aligned.device, dtype), most, space)
        log_q = log_affinities(aligned.to(dtype), most, space)
        p, q = log_p.exp(), log_q.exp()
        log_m = torch.logaddexp(log_p, log_q) - math.log(2)
        parts = p * (log_p - log_m) + q * (log_q - log_m)
        return parts.sum(dim=1).mean() / 2


def log_affinities(rows: torch.Tensor, perplexity: float, space: SimilaritySpace) -> torch.Tensor:
    """(N, N - 1) log of the row softmax without the diagonal."""
    z = space.place(rows)
    similarities = space.logits(z, z) * space.temperature
    count = len(z)
    off = ~torch.eye(count, dtype=torch.bool, device=z.device)
    others = similarities[off].view(count, count - 1)
    return torch.log_softmax(others / matching_temperature(others.detach(), perplexity), dim=1)


@torch.no_grad()
def matching_temperature(similarities: torch.Tensor, perplexity: float) -> float:
    """The temperature at which rows (N, M) have the mean entropy log `perplexity`; entropy grows with it."""
    spread = float(similarities.std().clamp_min(1e-12))
    low, high = math.log(1e-4 * spread), math.log(1e4 * spread)
    for _ in range(STEPS):
        middle = (low + high) / 2
        log_p = torch.log_softmax(similarities / math.exp(middle), dim=1)
        entropy = -(log_p.exp() * log_p.clamp_min(-1e30)).sum(dim=1).mean()
        low, high = (middle, high) if float(entropy) < math.log(perplexity) else (low, middle)
    return math.exp((low + high) / 2)
