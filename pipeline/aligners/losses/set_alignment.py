"""Alignment of sets of views with sets of captions by submodular mutual information: a reconstruction of SMA.

The exact loss of "SMA" (arXiv 2605.12872) is not public. This follows its description: submodular mutual information
contrasted over the batch, plus the divergence between the two sets. Do not cite its numbers as SMA's.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from structure.pipeline.aligners.arrays import Array
from structure.pipeline.aligners.losses.choices import Information
from structure.pipeline.aligners.losses.submodular import (
    Sets,
    largest_information,
    submodular_information,
    unit_sets,
)


def set_alignment_loss(
    views: Array,
    captions: Array,
    *,
    kind: Information = "flqmi",
    eta: float = 1.0,
    temperature: float = 0.05,
    sharpness: float | None = 50.0,
    divergence: float = 0.1,
    ridge: float = 0.1,
    views_mask: Array | None = None,
    captions_mask: Array | None = None,
) -> torch.Tensor:
    """0-d loss over `views` (batch, m, dim) and `captions` (batch, n, dim), raw, entity by entity.

    I(i, j) is the submodular information of `kind` between views i and captions j over its largest value, maxima
    smoothed to logsumexp(sharpness s) / sharpness less log(count) / sharpness (None: true maxima); the loss is the mean
    of both cross-entropies of I / temperature against the diagonal, plus `divergence` times mean_iu |max_v s_uv - max_t
    s_ut| over all views and captions u of the batch. With kind "flqmi", m = n = 1 and eta = 1 the first part is
    InfoNCE. `ridge` is for the log-determinants. Masks (batch, m), (batch, n) are True where a member is real.
    """
    masks: dict[str, Any] = {"views_mask": views_mask, "captions_mask": captions_mask}
    information = submodular_information(
        views, captions, kind=kind, eta=eta, ridge=ridge, sharpness=sharpness, **masks
    ) / largest_information(views, captions, kind=kind, eta=eta, **masks)
    logits = information / temperature
    target = torch.arange(len(logits), device=logits.device)
    contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    if not divergence:
        return contrast
    return contrast + divergence * set_divergence(*unit_sets(views, captions, **masks), sharpness=sharpness)


def set_divergence(a: Sets, q: Sets, *, sharpness: float | None = None) -> torch.Tensor:
    """mean_iu |max_v s_uv - max_t s_ut|, 0-d: f(V|T) + f(T|V) of facility location over all members of the batch, where
    one set covers the ground set and the other does not."""
    ground = torch.cat([a.members(), q.members()])
    return (a.best(ground, sharpness=sharpness) - q.best(ground, sharpness=sharpness)).abs().mean()
