"""Average precision of tasks in which a sample may have several classes."""

from __future__ import annotations

import numpy as np

from structure.pipeline.metrics.matrices import Array, as_numpy, as_scores
from structure.pipeline.metrics.ranked_precision import ranked_precisions
from structure.store.errors import StructureError


def average_precisions(scores: Array, targets: Array, *, weights: np.ndarray | None = None) -> np.ndarray:
    """Non-interpolated average precision of every class, float64 `(class,)`; 0 for a class without positives.

    `scores` (n, class), higher = more likely; `targets` (n, class) of 0 and 1. AP = sum over thresholds of
    (recall gained) x (precision there). Equal scores share a threshold (as in scikit-learn), so the order of the
    samples does not matter. `weights` (replicate, n) counts how often each sample is taken (bootstrap) and makes
    the result `(replicate, class)`.
    """
    ranked, truth = checked(scores, targets)
    taken = np.ones((1, len(truth))) if weights is None else np.asarray(weights, dtype=np.float64)
    precisions = ranked_precisions(ranked, truth, taken)
    return precisions[0] if weights is None else precisions


def checked(scores: Array, targets: Array) -> tuple[np.ndarray, np.ndarray]:
    """Both as NumPy arrays. Raises StructureError for a score that is not finite, a target that is not 0 or 1, or no
    sample; ValueError for two shapes."""
    ranked = as_numpy(as_scores(scores, name="multi-label scores"))
    truth = as_numpy(targets)
    if truth.shape != ranked.shape:
        raise ValueError(f"scores {ranked.shape} and targets {truth.shape} must have the same shape (n, class)")
    if not np.isin(truth, (0, 1)).all():
        raise StructureError("Multi-label targets must be 0 or 1: other values say neither yes nor no.")
    if not len(truth):
        raise StructureError("There is no sample to score: 0 rows of scores. Check the split and the limit.")
    return ranked, truth
