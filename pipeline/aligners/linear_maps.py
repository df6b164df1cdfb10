"""Linear baselines without training, from the moments of the pairs: the honest floor."""

from __future__ import annotations

import torch

from structure.pipeline.aligners.csa_solver import Moments
from structure.pipeline.aligners.heads.closed_heads import IdentityHead
from structure.pipeline.aligners.heads.vector_heads import LinearHead
from structure.store.errors import StructureError


def procrustes(gathered: Moments, *, dim: int) -> tuple[LinearHead, LinearHead]:
    """Orthogonal Procrustes between spaces of any widths: with S12 = U D V^T, x -> (x - mean) U, y -> (y - mean) V.

    U and V keep the `dim` strongest directions (rotations only, no scaling). For equal widths and full `dim` this is
    the rotation that minimises ||X R - Y|| (Schönemann 1966), up to a common rotation. Raises StructureError where
    rows or widths are fewer than `dim`.
    """
    most = min(*gathered.xy.shape, gathered.rows - 1)
    if dim > most:
        raise StructureError(
            f"Procrustes to {dim} dimensions asks for more than the {most} that {gathered.rows} pairs of widths "
            f"{gathered.xy.shape[0]} and {gathered.xy.shape[1]} determine. Pass --dim {most} or less, or more pairs."
        )
    u, _, vt = torch.linalg.svd(gathered.xy, full_matrices=False)
    return LinearHead.of_map(u[:, :dim], gathered.mean_x), LinearHead.of_map(vt[:dim].T, gathered.mean_y)


def ridge(gathered: Moments, *, share: float) -> tuple[LinearHead, IdentityHead]:
    """Ridge regression of the text features on the vision features; texts are only centred.

    W = (S11 + lambda I)^-1 S12 with lambda = `share` of the mean vision variance. Raises StructureError for a `share`
    that is not above 0: without it the fit is singular where pairs are fewer than the width.
    """
    if not share > 0:
        raise StructureError(f"ridge is {share}; ridge regression needs a share of the variance above 0.")
    raised = gathered.xx + share * gathered.xx.diagonal().mean() * torch.eye(len(gathered.xx), dtype=torch.float64)
    images = LinearHead.of_map(torch.linalg.solve(raised, gathered.xy), gathered.mean_x)
    return images, centred(gathered.mean_y)


def centred(mean: torch.Tensor) -> IdentityHead:
    """The head that only subtracts the mean."""
    head = IdentityHead(len(mean), len(mean))
    head.mean.copy_(mean)
    return head
