"""Average precision of tasks in which a picture may have several classes."""

from __future__ import annotations

import numpy as np

from structure.pipeline.metrics.matrices import Array, as_numpy, as_scores
from structure.store.errors import StructureError


def average_precisions(scores: Array, targets: Array, *, weights: np.ndarray | None = None) -> np.ndarray:
    """Non-interpolated average precision of every class, float64 `(class,)`; 0 for a class without positives.

    `scores` (n, class), higher = more likely; `targets` (n, class) of 0 and 1. AP = sum over thresholds of
    (recall gained) x (precision there). Equal scores share a threshold (as in scikit-learn), so the order of the
    samples does not matter. `weights` (replicate, n) counts how often each sample is taken (bootstrap) and makes
    the result `(replicate, class)`.
    """
    ranked = as_numpy(as_scores(scores, name="multi-label scores"))
    truth = as_numpy(targets)
    if truth.shape != ranked.shape:
        raise ValueError(f"scores {ranked.shape} and targets {truth.shape} must have the same shape (n, class)")
    if not np.isin(truth, (0, 1)).all():
        raise StructureError("Multi-label targets must be 0 or 1: other values say neither yes nor no.")
    if not len(truth):
        raise StructureError("There is no sample to judge: 0 rows of scores. Check the split and the limit.")
    taken = np.ones((1, len(truth))) if weights is None else np.asarray(weights, dtype=np.float64)
    found = np.empty((len(taken), truth.shape[1]))
    for column in range(truth.shape[1]):
        order = np.argsort(-ranked[:, column], kind="stable")
        values = ranked[order, column]
        ends = np.searchsorted(-values, -values, side="right") - 1
        counts = taken[:, order]
        hits = counts * truth[order, column]
        found_so_far = np.cumsum(hits, axis=1)[:, ends]
        seen_so_far = np.cumsum(counts, axis=1)[:, ends]
        precision = np.divide(found_so_far, seen_so_far, out=np.zeros_like(hits), where=seen_so_far > 0)
        found[:, column] = (hits * precision).sum(axis=1) / np.maximum(hits.sum(axis=1), 1)
    return found[0] if weights is None else found
