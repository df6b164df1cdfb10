"""Submodular mutual information between sets of views and sets of captions, for every pair of entities.

Definitions: Iyer et al., "Submodular combinatorial information measures" (arXiv 2006.15412), as used by SMA
(arXiv 2605.12872). s is the cosine, A the views of entity i, Q the captions of entity j.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F

from structure.pipeline.aligners.arrays import Array, as_tensor, computing_dtype
from structure.store.errors import unknown

Information = Literal["flqmi", "flvmi", "gcmi", "logdetmi"]
Ground = Literal["all", "views"]

_MOST = 1 << 24
"""Elements of (ground, views of, captions of) that facility location holds at once."""


def submodular_information(
    views: Array,
    captions: Array,
    *,
    kind: Information = "flqmi",
    eta: float = 1.0,
    ground: Ground = "all",
    ridge: float = 0.0,
) -> torch.Tensor:
    """(batch, batch): entry (i, j) is the information between the views of entity i and the captions of entity j.

    `views` (batch, m, dim), `captions` (batch, n, dim), raw: rows are normalised here; differentiable in both.
    - `flqmi`: sum_q max_a s_aq + eta sum_a max_q s_aq
    - `flvmi`: sum_u min(max_a s_ua, eta max_q s_uq) over u in all views and captions, or in all views (`ground`)
    - `gcmi`: 2 eta sum_aq s_aq
    - `logdetmi`: logdet S_A - logdet(S_A - eta^2 S_AQ S_Q^-1 S_AQ^T), `ridge` added to the diagonals of S_A and S_Q
    Maxima are true maxima, negative ones included. Raises StructureError for an unknown kind or ground.
    """
    if kind not in get_args(Information):
        raise unknown("kind of submodular information", kind, get_args(Information))
    if ground not in get_args(Ground):
        raise unknown("ground set", ground, get_args(Ground))
    left, right = as_tensor(views), as_tensor(captions)
    if left.ndim != 3 or right.ndim != 3 or len(left) != len(right) or left.shape[2] != right.shape[2]:
        raise ValueError(f"views {tuple(left.shape)} and captions {tuple(right.shape)} must be (batch, set, dim)")
    dtype = computing_dtype(left, right)
    a, q = F.normalize(left.to(dtype), dim=2), F.normalize(right.to(left.device, dtype), dim=2)
    if kind == "flvmi":
        return _facility_variant(a, q, eta, ground)
    between = torch.einsum("iad,jqd->iajq", a, q)
    if kind == "flqmi":
        return between.amax(dim=1).sum(dim=2) + eta * between.amax(dim=3).sum(dim=1)
    if kind == "gcmi":
        return 2 * eta * between.sum(dim=(1, 3))
    return _log_determinant(a, q, between, eta, ridge)


def _facility_variant(a: torch.Tensor, q: torch.Tensor, eta: float, ground: Ground) -> torch.Tensor:
    """Every element of the ground set is covered as well as the worse of the two sets covers it."""
    items = a.flatten(0, 1) if ground == "views" else torch.cat([a.flatten(0, 1), q.flatten(0, 1)])
    by_views = torch.einsum("ud,iad->uia", items, a).amax(dim=2)
    by_captions = eta * torch.einsum("ud,jqd->ujq", items, q).amax(dim=2)
    total = a.new_zeros(len(a), len(q))
    step = max(1, _MOST // (len(a) * len(q)))
    for start in range(0, len(items), step):
        rows = slice(start, start + step)
        total = total + torch.minimum(by_views[rows, :, None], by_captions[rows, None, :]).sum(dim=0)
    return total


def _log_determinant(a: torch.Tensor, q: torch.Tensor, between: torch.Tensor, eta: float, ridge: float) -> torch.Tensor:
    of_views = a @ a.mT + ridge * torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
    of_captions = q @ q.mT + ridge * torch.eye(q.shape[1], dtype=q.dtype, device=q.device)
    pairs = between.permute(0, 2, 1, 3)
    explained = pairs @ torch.linalg.solve(of_captions, pairs.mT)
    left = torch.linalg.slogdet(of_views).logabsdet[:, None]
    return left - torch.linalg.slogdet(of_views[:, None] - eta**2 * explained).logabsdet
