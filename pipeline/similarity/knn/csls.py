"""CSLS: cosines corrected for hubs, rows that are near to every query.

CSLS(q, x) = 2 cos(q, x) - r(q) - r(x), with r(x) the mean cosine of x with its `NEIGHBOURS` nearest queries of a
reference set, and r(q) that of q with its nearest rows (Conneau et al., arXiv 1710.04087, section 2.3). A row that is
near to everything has a large r and falls back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from structure.pipeline.similarity.knn.top_k import MEMORY, QUERIES, Gallery, TopK, top_k

NEIGHBOURS = 10
"""Nearest queries, and nearest rows, whose mean cosine is taken: as published."""


def mean_nearest(
    gallery: Gallery,
    references: Gallery,
    *,
    samples: tuple[np.ndarray, np.ndarray] | None = None,
    usable: np.ndarray | None = None,
    memory: int = MEMORY,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """(rows,) float32: r(x) of every row of the gallery, over its nearest `usable` references; NaN where a row
    holds one.

    `samples` are the samples, as numbers, of the rows (rows,) and of the references: references of a row's own sample
    are left out, for an aligner that was trained on the pair puts them together, which makes no hub.
    """
    own = 0 if samples is None else int(np.unique(samples[1], return_counts=True)[1].max(initial=0))
    found = np.full(gallery.shape[0], np.nan, dtype=np.float32)
    for start in range(0, len(found), QUERIES):
        rows = np.concatenate(gallery.pieces(start, min(start + QUERIES, len(found)))).astype(np.float32)
        good = np.isfinite(rows).all(axis=1)
        nearest = top_k(rows[good], references, k=NEIGHBOURS + own, usable=usable, memory=memory, device=device)
        counts = np.ones(nearest.rows.shape, dtype=bool)
        if samples is not None:
            counts = samples[1][nearest.rows] != samples[0][start : start + len(rows)][good, None]
        counts &= np.cumsum(counts, axis=1) <= NEIGHBOURS
        sums = np.where(counts, nearest.scores, 0.0).sum(axis=1)
        found[start : start + len(rows)][good] = sums / np.maximum(counts.sum(axis=1), 1)
    return found


@dataclass(frozen=True)
class _Corrected:
    """The gallery with -r(x) as one more column: an inner product with (2 q, 1) is 2 cos(q, x) - r(x)."""

    gallery: Gallery
    hubness: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        rows, width = self.gallery.shape
        return rows, width + 1

    @property
    def largest(self) -> float:
        return float(np.hypot(self.gallery.largest, np.abs(np.nan_to_num(self.hubness)).max(initial=0.0)))

    def pieces(self, start: int, stop: int) -> Sequence[np.ndarray]:
        parts, at = [], start
        for piece in self.gallery.pieces(start, stop):
            part = np.empty((len(piece), piece.shape[1] + 1), dtype=np.float32)
            part[:, :-1], part[:, -1] = piece, -self.hubness[at : at + len(piece)]
            parts.append(part)
            at += len(piece)
        return parts


def csls_top_k(
    queries: np.ndarray,
    gallery: Gallery,
    hubness: np.ndarray,
    *,
    k: int,
    usable: np.ndarray | None = None,
    memory: int = MEMORY,
    device: str | torch.device = "cpu",
) -> TopK:
    """As `top_k`, ordered by CSLS with `hubness` (rows,) from `mean_nearest`; the scores are CSLS."""
    doubled = np.concatenate([2 * queries, np.ones((len(queries), 1))], axis=1).astype(np.float32)
    found = top_k(doubled, _Corrected(gallery, hubness), k=k, usable=usable, memory=memory, device=device)
    nearest = top_k(queries, gallery, k=NEIGHBOURS, usable=usable, memory=memory, device=device)
    return TopK(found.scores - nearest.scores.mean(axis=1, keepdims=True), found.rows)
