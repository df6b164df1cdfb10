"""Submodular mutual information between sets of views and sets of captions, for every pair of entities.

Definitions: Iyer et al., "Submodular combinatorial information measures" (arXiv 2006.15412), as used by SMA
(arXiv 2605.12872). s is the cosine, A the views of entity i, Q the captions of entity j.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import torch
import torch.nn.functional as F

from structure.pipeline.aligners.arrays import Array, as_tensor, computing_dtype
from structure.pipeline.aligners.chunked import in_chunks
from structure.pipeline.aligners.losses.choices import Ground, Information
from structure.store.errors import unknown

_MOST = 1 << 24
"""Elements of (ground, views of, captions of) that facility location holds at once."""


@dataclass(frozen=True)
class Sets:
    """Unit vectors (entity, set, dim) and which are real, (entity, set) bool; None = all."""

    vectors: torch.Tensor
    mask: torch.Tensor | None = None

    @property
    def sizes(self) -> torch.Tensor:
        """(entity,) how many members each set has."""
        count, longest = self.vectors.shape[:2]
        if self.mask is None:
            return torch.full((count,), longest, dtype=self.vectors.dtype, device=self.vectors.device)
        return self.mask.sum(dim=1).to(self.vectors.dtype)

    def members(self) -> torch.Tensor:
        """(members, dim): those of all sets, set by set."""
        return self.vectors.flatten(0, 1) if self.mask is None else self.vectors[self.mask]

    def best(self, others: torch.Tensor, *, sharpness: float | None = None) -> torch.Tensor:
        """(others, entity): the largest cosine of each other vector (others, dim) with a member of each set."""

        def cover(rows: torch.Tensor, _: torch.Tensor | None, vectors: torch.Tensor) -> torch.Tensor:
            cosines = torch.einsum("ud,isd->uis", rows[:, 0], vectors)
            return maximum(cosines, 2, self.mask, sharpness=sharpness)

        width = self.vectors.shape[0] * self.vectors.shape[1]
        return in_chunks(cover, others[:, None], None, self.vectors, width=width)


def unit_sets(
    views: Array, captions: Array, views_mask: Array | None, captions_mask: Array | None
) -> tuple[Sets, Sets]:
    """Both sides as `Sets`. Raises ValueError where shapes do not fit or an entity has an empty set."""
    left, right = as_tensor(views), as_tensor(captions)
    if left.ndim != 3 or right.ndim != 3 or len(left) != len(right) or left.shape[2] != right.shape[2]:
        raise ValueError(f"views {tuple(left.shape)} and captions {tuple(right.shape)} must be (batch, set, dim)")
    dtype = computing_dtype(left, right)
    made = []
    for values, mask in ((left, views_mask), (right, captions_mask)):
        vectors, real = values.to(left.device, dtype), None
        if mask is not None:
            real = as_tensor(mask).to(left.device, torch.bool)
            if real.shape != vectors.shape[:2] or not bool(real.any(dim=1).all()):
                raise ValueError(f"mask {tuple(real.shape)} of sets {tuple(vectors.shape)}: each needs a real member")
            vectors = vectors.masked_fill(~real[..., None], 0.0)
        made.append(Sets(F.normalize(vectors, dim=2), real))
    return made[0], made[1]


def maximum(
    values: torch.Tensor, dim: int, mask: torch.Tensor | None, *, sharpness: float | None = None
) -> torch.Tensor:
    """The largest over `dim`; `mask` has the size of the dimensions before it and of it, or of the last two.

    `sharpness` b smooths it to log(mean(exp(b values))) / b: logsumexp / b less log(count) / b, so that members which
    are all alike give their own value, whatever their number.
    """
    if mask is not None:
        values = values.masked_fill(~mask, -torch.inf)
    if sharpness is None or values.shape[dim] == 1:
        return values.amax(dim=dim)
    smooth = torch.logsumexp(sharpness * values, dim=dim)
    count: float | torch.Tensor = math.log(values.shape[dim])
    if mask is not None:
        count = mask.expand_as(values).sum(dim=dim).to(values.dtype).log()
    return (smooth - count) / sharpness


def submodular_information(
    views: Array,
    captions: Array,
    *,
    kind: Information = "flqmi",
    eta: float = 1.0,
    ground: Ground = "all",
    ridge: float = 0.0,
    views_mask: Array | None = None,
    captions_mask: Array | None = None,
    sharpness: float | None = None,
) -> torch.Tensor:
    """(batch, batch): entry (i, j) is the information between the views of entity i and the captions of entity j.

    `views` (batch, m, dim), `captions` (batch, n, dim), raw: rows are normalised here; differentiable in both. Sets of
    different sizes are padded, with masks (batch, m), (batch, n), True = real; padding may hold anything.
    - `flqmi`: sum_q max_a s_aq + eta sum_a max_q s_aq
    - `flvmi`: sum_u min(max_a s_ua, eta max_q s_uq) over u in all views and captions, or in all views (`ground`)
    - `gcmi`: 2 eta sum_aq s_aq
    - `logdetmi`: logdet S_A - logdet(S_A - eta^2 S_AQ S_Q^-1 S_AQ^T), `ridge` added to the diagonals of S_A and S_Q
    Maxima are true maxima, negative ones included, unless `sharpness` smooths them (see `maximum`). Raises
    StructureError for an unknown kind or ground.
    """
    if kind not in get_args(Information):
        raise unknown("kind of submodular information", kind, get_args(Information))
    if ground not in get_args(Ground):
        raise unknown("ground set", ground, get_args(Ground))
    a, q = unit_sets(views, captions, views_mask, captions_mask)
    if kind == "flvmi":
        return _facility_variant(a, q, eta, ground, sharpness)
    if kind == "gcmi":
        return 2 * eta * a.vectors.sum(dim=1) @ q.vectors.sum(dim=1).T
    if kind == "flqmi":
        return _facility(a, q, eta, sharpness)
    return _log_determinant(a, q, eta, ridge)


def largest_information(
    views: Array,
    captions: Array,
    *,
    kind: Information = "flqmi",
    eta: float = 1.0,
    ground: Ground = "all",
    views_mask: Array | None = None,
    captions_mask: Array | None = None,
) -> torch.Tensor:
    """(batch, batch): what to divide the information by, so that sets of any size compare: the value for cosines that
    are all 1 (eta at most 1). The log-determinants have none; they are divided by the number of views."""
    a, q = unit_sets(views, captions, views_mask, captions_mask)
    m, n = a.sizes[:, None], q.sizes[None]
    if kind == "flqmi":
        return n + eta * m
    if kind == "gcmi":
        return 2 * eta * m * n
    if kind == "flvmi":
        return (m.sum() + n.sum() if ground == "all" else m.sum()).expand(len(m), len(m))
    return m.expand(-1, len(m))


def _facility(a: Sets, q: Sets, eta: float, sharpness: float | None) -> torch.Tensor:
    """Facility location both ways, entity by entity of the views."""
    entities, captions, _ = q.vectors.shape
    real_q = torch.ones(entities, captions, dtype=torch.bool) if q.mask is None else q.mask

    def information(rows: torch.Tensor, kept: torch.Tensor | None, of_captions: torch.Tensor) -> torch.Tensor:
        between = torch.einsum("iad,jqd->iajq", rows, of_captions)
        views_of = None if kept is None else kept[:, :, None, None]
        over_views = maximum(between, 1, views_of, sharpness=sharpness)
        over_captions = maximum(between, 3, None if q.mask is None else real_q, sharpness=sharpness)
        if q.mask is not None:
            over_views = over_views.masked_fill(~real_q, 0.0)
        if kept is not None:
            over_captions = over_captions.masked_fill(~kept[..., None], 0.0)
        return over_views.sum(dim=2) + eta * over_captions.sum(dim=1)

    return in_chunks(information, a.vectors, a.mask, q.vectors, width=entities * captions)


def _facility_variant(a: Sets, q: Sets, eta: float, ground: Ground, sharpness: float | None) -> torch.Tensor:
    """Every element of the ground set is covered as well as the worse of the two sets covers it."""
    items = a.members() if ground == "views" else torch.cat([a.members(), q.members()])
    by_views, by_captions = a.best(items, sharpness=sharpness), eta * q.best(items, sharpness=sharpness)
    total = items.new_zeros(len(a.vectors), len(q.vectors))
    step = max(1, _MOST // (len(a.vectors) * len(q.vectors)))
    for start in range(0, len(items), step):
        rows = slice(start, start + step)
        total = total + torch.minimum(by_views[rows, :, None], by_captions[rows, None, :]).sum(dim=0)
    return total


def _log_determinant(a: Sets, q: Sets, eta: float, ridge: float) -> torch.Tensor:
    of_views, of_captions = _gram(a, ridge), _gram(q, ridge)
    pairs = torch.einsum("iad,jqd->ijaq", a.vectors, q.vectors)
    explained = pairs @ torch.linalg.solve(of_captions, pairs.mT)
    left = torch.linalg.slogdet(of_views).logabsdet[:, None]
    return left - torch.linalg.slogdet(of_views[:, None] - eta**2 * explained).logabsdet


def _gram(sets: Sets, ridge: float) -> torch.Tensor:
    """Cosines within each set, `ridge` on the diagonal; a padded member is a 1 there and 0 elsewhere: it adds 0 to a
    log-determinant."""
    vectors = sets.vectors
    added = torch.full(vectors.shape[:2], ridge, dtype=vectors.dtype, device=vectors.device)
    if sets.mask is not None:
        added = torch.where(sets.mask, added, 1.0)
    return vectors @ vectors.mT + torch.diag_embed(added)
