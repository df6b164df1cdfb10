"""Recall@1 of paired embeddings: the quick check that training and closed forms share."""

from __future__ import annotations

import torch
import torch.nn.functional as F


@torch.no_grad()
def pair_recall(images: torch.Tensor, texts: torch.Tensor, *, chunk: int = 1024) -> tuple[float, float]:
    """(image retrieval recall@1, text retrieval recall@1): the share of texts whose own image is nearest, and of images
    whose own text is.

    `images`, `texts` are (n, dim), row i belonging to row i. A tie counts as a miss: a collapsed space scores 0.
    """
    recalls: tuple[float, float] = unit_recall(F.normalize(images, dim=1), F.normalize(texts, dim=1), chunk=chunk)
    return recalls


@torch.no_grad()
def unit_recall(left: torch.Tensor, right: torch.Tensor, *, chunk: int = 1024) -> tuple[float, float]:
    """`pair_recall` of unit rows of images (n, dim) and texts (n, dim)."""

    def hits(queries: torch.Tensor, gallery: torch.Tensor) -> float:
        found = 0
        for start in range(0, len(queries), chunk):
            scores = queries[start : start + chunk] @ gallery.T
            own = scores.diagonal(start).clone()
            found += int(((scores >= own[:, None]).sum(dim=1) == 1).sum())
        return found / len(queries)

    return hits(right, left), hits(left, right)
