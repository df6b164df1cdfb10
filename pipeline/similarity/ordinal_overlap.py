"""Neighbour lists compared as sequences: longest common subsequence and edit distance (platonic-rep's ordinal
measures).

Both are one dynamic programme over the two lists of a row, run for many rows at once: k steps over (rows, k) arrays.
Over all layer pairs it runs only for the rows whose lists share two neighbours or more: in a permutation null, few.
"""

from __future__ import annotations

import numpy as np

from structure.pipeline.similarity.neighbour_overlap import matches


def lcs_knn(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over rows of the longest common subsequence of two `(rows, k)` neighbour lists, divided by k: in [0, 1].

    platonic-rep reports the length itself; this is that number over k, so that measures share a scale.
    """
    return float(common_lengths(a, b).mean() / a.shape[1])


def edit_distance_knn(a: np.ndarray, b: np.ndarray) -> float:
    """1 - mean over rows of the Levenshtein distance of two `(rows, k)` neighbour lists / k: in [0, 1]."""
    return float(1.0 - edit_distances(a, b).mean() / a.shape[1])


def common_lengths(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`(rows,)` int64: the length of the longest common subsequence of each row's two lists."""
    rows, k = a.shape
    best = np.zeros((rows, k + 1), np.int16)
    for p in range(k):
        match = a[:, p : p + 1] == b
        best[:, 1:] = np.maximum(best[:, 1:], best[:, :-1] + match)
        np.maximum.accumulate(best, axis=1, out=best)
    return best[:, -1].astype(np.int64)


def edit_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`(rows,)` int64: insertions, deletions and substitutions that turn one list into the other; k where none is
    shared."""
    rows, k = a.shape
    column = np.arange(k + 1, dtype=np.int16)
    cost = np.broadcast_to(column, (rows, k + 1)).copy()
    for p in range(k):
        change = cost[:, :-1] + (a[:, p : p + 1] != b)
        cost[:, 1:] = np.minimum(cost[:, 1:] + 1, change)
        cost[:, 0] = p + 1
        cost = np.minimum.accumulate(cost - column, axis=1) + column  # insertions: the cheapest start to the left
    return cost[:, -1].astype(np.int64)


def lcs_totals(vision: np.ndarray, text: np.ndarray) -> np.ndarray:
    """`(Lv, Lt)` int64: sum over rows of the longest common subsequence, for `(layers, rows, k)` tables."""
    rows, k = vision.shape[1:]
    totals = np.zeros((len(vision), len(text)), np.int64)
    for i, j, p, _ in matches(vision, text):
        shared = np.bincount(p // k, minlength=rows)
        several = np.flatnonzero(shared > 1)
        totals[i, j] = np.count_nonzero(shared == 1) + common_lengths(vision[i, several], text[j, several]).sum()
    return totals


def saved_edit_totals(vision: np.ndarray, text: np.ndarray) -> np.ndarray:
    """`(Lv, Lt)` int64: sum over rows of k minus the edit distance.

    A single shared neighbour saves an edit only where it has the same rank in both lists.
    """
    rows, k = vision.shape[1:]
    totals = np.zeros((len(vision), len(text)), np.int64)
    for i, j, p, q in matches(vision, text):
        shared = np.bincount(p // k, minlength=rows)
        several = np.flatnonzero(shared > 1)
        distances = edit_distances(vision[i, several], text[j, several])
        totals[i, j] = np.count_nonzero((shared[p // k] == 1) & (p == q)) + (k - distances).sum()
    return totals
