"""FOSCTTM: fraction of samples closer than the true match, of two sets whose rows pair."""

from __future__ import annotations

from typing import Literal

import torch

from structure.pipeline.metrics.matrices import SCORES_AT_ONCE, Array, as_scores, as_tensor, blocks, unit_rows
from structure.store.errors import StructureError


def foscttm(
    x: Array,
    y: Array,
    *,
    metric: Literal["cosine", "euclidean"] = "cosine",
    ties: Literal["strict", "half"] = "strict",
) -> float:
    """Mean over both directions and all rows of the share of the n - 1 other rows that are closer than the true match.

    `x` and `y` are (n, dim) and row i of one belongs to row i of the other. 0 is perfect, .5 a random order. A row that
    is as close as the match counts 0 under `strict` ties (as in SCOT's code), and a half under `half` (as in Unpaired
    Rosetta, arXiv 2610.09411, which takes the direction from x to y alone), where .5 is chance for constant features
    too. Computed in float64, in blocks. Source: Liu et al., WABI 2019 (arXiv 1810.10664).
    Raises StructureError for sides that differ in shape, fewer than two rows, a NaN, or a row of zeros under cosine.
    """
    rows = unit_rows if metric == "cosine" else as_scores
    left, right = (rows(as_tensor(side).double(), name=name) for side, name in ((x, "x"), (y, "y")))
    if left.shape != right.shape or len(left) < 2:
        raise StructureError(
            f"FOSCTTM compares rows that pair, at least two: x is {tuple(left.shape)}, y is {tuple(right.shape)}."
        )
    shares = [
        _shares(*pair, metric=metric, tie=0.5 if ties == "half" else 0.0) for pair in ((left, right), (right, left))
    ]
    return float(torch.stack(shares).mean())


def _shares(queries: torch.Tensor, gallery: torch.Tensor, *, metric: str, tie: float) -> torch.Tensor:
    """(n,) float64: of every query, the share of the other gallery rows that are closer than its own."""
    found = torch.empty(len(queries), dtype=torch.float64, device=queries.device)
    for rows in blocks(len(queries), len(gallery), at_once=SCORES_AT_ONCE):
        if metric == "cosine":
            apart = -(queries[rows] @ gallery.T)
        else:
            apart = torch.cdist(queries[rows], gallery, compute_mode="donot_use_mm_for_euclid_dist")
        own = apart.diagonal(rows.start)[:, None]  # read from the same product: rounding cannot part it from its ties
        closer = torch.count_nonzero(apart < own, dim=1)
        tied = torch.count_nonzero(apart == own, dim=1) - 1
        found[rows] = (closer.double() + tie * tied) / (len(gallery) - 1)
    return found
