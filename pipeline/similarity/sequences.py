"""Neighbour lists compared as sequences: longest common subsequence and edit distance (platonic-rep's ordinal
measures).

Both are one dynamic programme over the two lists of a row, run for all rows at once: k steps over (rows, k) arrays.
"""

from __future__ import annotations

import numpy as np


def lcs_knn(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over rows of the longest common subsequence of two `(rows, k)` neighbour lists, divided by k: in [0, 1].

    platonic-rep reports the length itself; this is that number over k, so that measures share a scale.
    """
    rows, k = a.shape
    best = np.zeros((rows, k + 1), np.int16)
    for p in range(k):
        match = a[:, p : p + 1] == b
        best[:, 1:] = np.maximum(best[:, 1:], best[:, :-1] + match)
        np.maximum.accumulate(best, axis=1, out=best)
    return float(best[:, -1].mean() / k)


def edit_distance_knn(a: np.ndarray, b: np.ndarray) -> float:
    """1 - mean over rows of the Levenshtein distance of two `(rows, k)` neighbour lists / k: in [0, 1]."""
    rows, k = a.shape
    column = np.arange(k + 1, dtype=np.int16)
    cost = np.broadcast_to(column, (rows, k + 1)).copy()
    for p in range(k):
        change = cost[:, :-1] + (a[:, p : p + 1] != b)
        cost[:, 1:] = np.minimum(cost[:, 1:] + 1, change)
        cost[:, 0] = p + 1
        cost = np.minimum.accumulate(cost - column, axis=1) + column  # insertions: the cheapest start to the left
    return float(1.0 - cost[:, -1].mean() / k)
