"""Average precision of ready scores under resampling; NumPy alone."""

from __future__ import annotations

import numpy as np


def ranked_precisions(scores: np.ndarray, targets: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(replicate, class) float64 average precision of finite `scores` (n, class) against 0/1 `targets` (n, class).

    `counts` (replicate, n) says how often each sample is taken. Equal scores share a threshold; 0 for a class without
    positives. See `average_precisions`.
    """
    taken = np.asarray(counts, dtype=np.float64)
    precisions = np.empty((len(taken), targets.shape[1]))
    for column in range(targets.shape[1]):
        order = np.argsort(-scores[:, column], kind="stable")
        values = scores[order, column]
        ends = np.searchsorted(-values, -values, side="right") - 1
        drawn = taken[:, order]
        hits = drawn * targets[order, column]
        found_so_far = np.cumsum(hits, axis=1)[:, ends]
        seen_so_far = np.cumsum(drawn, axis=1)[:, ends]
        precision = np.divide(found_so_far, seen_so_far, out=np.zeros_like(hits), where=seen_so_far > 0)
        precisions[:, column] = (hits * precision).sum(axis=1) / np.maximum(hits.sum(axis=1), 1)
    return precisions
