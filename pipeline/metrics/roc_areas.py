"""Areas under ROC curves of ready scores under resampling; NumPy alone."""

from __future__ import annotations

import numpy as np


def roc_areas(scores: np.ndarray, targets: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(replicate, class) float64 AUROC of finite `scores` (n, class) against 0/1 `targets` (n, class).

    The probability that a positive scores above a negative, a tie counted as a half (Hanley and McNeil, "The meaning
    and use of the area under a receiver operating characteristic (ROC) curve", Radiology 143, 1982). `counts`
    (replicate, n) says how often each sample is taken. NaN for a class without positives or without negatives.
    """
    taken = np.asarray(counts, dtype=np.float64)
    areas = np.empty((len(taken), targets.shape[1]))
    for column in range(targets.shape[1]):
        order = np.argsort(scores[:, column], kind="stable")
        values, positive = scores[order, column], targets[order, column]
        first = np.searchsorted(values, values, side="left")
        behind = np.searchsorted(values, values, side="right")
        drawn = taken[:, order]
        hits, misses = drawn * positive, drawn * (1 - positive)
        below = np.concatenate([np.zeros((len(taken), 1)), np.cumsum(misses, axis=1)], axis=1)
        won = (hits * (below[:, first] + below[:, behind]) / 2).sum(axis=1)
        pairs = hits.sum(axis=1) * misses.sum(axis=1)
        areas[:, column] = np.divide(won, pairs, out=np.full(len(taken), np.nan), where=pairs > 0)
    return areas
