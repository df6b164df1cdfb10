"""SOTAlign's teacher: ridge CCA of the pairs, and Procrustes of a single one (arXiv 2602.23353, stage 1).

As third parties have it (unpaired-rosetta's `baselines/sotalign.py`): the authors released KLOT alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from structure.pipeline.aligners.arrays import Array, as_tensor
from structure.pipeline.aligners.few_pairs.unpaired_sides import polar

FLOOR = 1e-12
"""Least eigenvalue of a covariance."""


@dataclass(frozen=True)
class RidgeCca:
    """Maps (dx, r) and (dy, r) float64, and the singular values (r,) of the whitened cross-covariance."""

    of_x: torch.Tensor
    of_y: torch.Tensor
    singular_values: torch.Tensor


def ridge_cca(x: Array, y: Array, *, dim: int, ridge: float) -> RidgeCca:
    """Of paired rows (n, dx) and (n, dy), n at least 2: (S_x + ridge)^-1/2 S_xy (S_y + ridge)^-1/2 = U s V^T over rows
    less the pairs' means; W_x = (S_x + ridge)^-1/2 U, W_y the same with V, not scaled by s, of r = min(dim, dx, dy,
    n - 1) directions. `ridge` is absolute: it depends on the rows' lengths."""
    left, right = (as_tensor(side).double() for side in (x, y))
    left, right = left - left.mean(dim=0), right - right.mean(dim=0)
    roots = [_inverse_root(side.T @ side / len(side), ridge) for side in (left, right)]
    u, s, vt = torch.linalg.svd(roots[0] @ (left.T @ right / len(left)) @ roots[1], full_matrices=False)
    r = min(dim, left.shape[1], right.shape[1], len(left) - 1)
    return RidgeCca(roots[0] @ u[:, :r], roots[1] @ vt[:r].T, s[:r])


def teacher_of(x: Array, y: Array, *, dim: int, ridge: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The teacher's maps float64: by ridge CCA, and of a single pair the rotation of x onto y, with y as it is."""
    if len(x) > 1:
        fitted = ridge_cca(x, y, dim=dim, ridge=ridge)
        return fitted.of_x, fitted.of_y
    left, right = (as_tensor(side).double() for side in (x, y))
    return polar(left.T @ right), torch.eye(right.shape[1], dtype=torch.float64, device=right.device)


def _inverse_root(covariance: torch.Tensor, ridge: float) -> torch.Tensor:
    raised = covariance + ridge * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    values, vectors = torch.linalg.eigh(raised)
    return (vectors / values.clamp_min(FLOOR).sqrt()) @ vectors.T
