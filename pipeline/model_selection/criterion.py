"""What one pair adds to the score of a candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from structure.pipeline.metrics.retrieval_ranks import retrieval_ranks

if TYPE_CHECKING:
    from structure.pipeline.aligners.aligner import Aligner


def pair_values(aligner: Aligner, vision: Any, text: Any, *, select: str) -> np.ndarray:
    """(n,) float64: the criterion `select` of each held-out pair among all of them, whose mean is the score.

    "mrr" is the mean of the reciprocal ranks of both directions, "R@k" of both hits within k; a name of one direction
    is that alone.
    """
    ranks = retrieval_ranks(aligner.embed_images(vision), aligner.embed_texts(text), np.arange(len(vision)))
    images, texts = (np.asarray(side, dtype=np.float64) for side in (ranks.of_images, ranks.of_texts))
    if select == "mrr":
        return np.asarray((1 / (1 + images) + 1 / (1 + texts)) / 2)
    name, _, k = select.partition("@")
    hits = {"image_retrieval_recall": images < int(k), "text_retrieval_recall": texts < int(k)}
    sides = [hits[name]] if name in hits else list(hits.values())
    return np.asarray(np.mean(sides, axis=0), dtype=np.float64)


def standard_error(values: np.ndarray, groups: np.ndarray) -> float:
    """Standard error of the mean of (n,) values whose groups (n,) are the independent units; 0 for one group.

    The linearised variance of a ratio of sums: Cochran, "Sampling Techniques" (1977), equation 2.39.
    """
    _, group = np.unique(groups, return_inverse=True)
    sums = np.bincount(group, weights=values - values.mean())
    count = len(sums)
    if count < 2:
        return 0.0
    return float(np.sqrt(count / (count - 1) * np.square(sums).sum()) / len(values))
