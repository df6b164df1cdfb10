"""Alignment of sets of views with sets of captions by submodular mutual information: a reconstruction of SMA.

The exact loss of "SMA" (arXiv 2605.12872) is not public. This follows its description: facility-location mutual
information contrasted over the batch, plus the divergence between the two sets. Do not cite its numbers as SMA's.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from structure.pipeline.aligners.arrays import Array, as_tensor, computing_dtype


def set_alignment_loss(
    views: Array,
    captions: Array,
    *,
    eta: float = 1.0,
    temperature: float = 0.05,
    sharpness: float | None = 50.0,
    divergence: float = 0.1,
) -> torch.Tensor:
    """0-d loss over `views` (batch, m, dim) and `captions` (batch, n, dim), raw, entity by entity.

    I(i, j) = FLQMI(views i, captions j) / (n + eta m), maxima smoothed to logsumexp(sharpness s) / sharpness less
    log(count) / sharpness (None: true maxima); the loss is the mean of both cross-entropies of I / temperature against
    the diagonal, plus `divergence` times mean_iu |max_v s_uv - max_t s_ut| over all views and captions u of the batch.
    With m = n = 1 and eta = 1 the first part is InfoNCE.
    """
    left, right = as_tensor(views), as_tensor(captions)
    dtype = computing_dtype(left, right)
    a, q = F.normalize(left.to(dtype), dim=2), F.normalize(right.to(left.device, dtype), dim=2)
    between = torch.einsum("iad,jqd->iajq", a, q)
    over_views, over_captions = _maximum(between, 1, sharpness), _maximum(between, 3, sharpness)
    information = (over_views.sum(dim=2) + eta * over_captions.sum(dim=1)) / (q.shape[1] + eta * a.shape[1])
    logits = information / temperature
    target = torch.arange(len(logits), device=logits.device)
    contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    if not divergence:
        return contrast
    # f(V|T) + f(T|V) of facility location: where one set covers the ground set and the other does not.
    ground = torch.cat([a.flatten(0, 1), q.flatten(0, 1)])
    by_views = _maximum(torch.einsum("ud,iad->uia", ground, a), 2, sharpness)
    by_captions = _maximum(torch.einsum("ud,iqd->uiq", ground, q), 2, sharpness)
    return contrast + divergence * (by_views - by_captions).abs().mean()


def _maximum(values: torch.Tensor, dim: int, sharpness: float | None) -> torch.Tensor:
    if sharpness is None or values.shape[dim] == 1:
        return values.amax(dim=dim)
    return (torch.logsumexp(sharpness * values, dim=dim) - math.log(values.shape[dim])) / sharpness
