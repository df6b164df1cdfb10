"""What a random order gives: expected recall, average precision and median rank."""

from __future__ import annotations

import numpy as np


def expected_precision(positives: np.ndarray, n: int) -> float:
    """Expected average precision of a random order of n, mean over queries (or classes) with `positives` answers each.

    One class with r positives among n: E[AP] = (H_n + (r-1)/(n-1) (n - H_n)) / n, H_n the harmonic number, since a
    positive at rank j expects 1 + (j-1)(r-1)/(n-1) positives up to it. A class without positives counts 0, as in
    the metric.
    """
    harmonic = (1 / np.arange(1, n + 1)).sum()
    expected = (harmonic + (positives - 1) / max(1, n - 1) * (n - harmonic)) / n
    return float(np.where(positives > 0, expected, 0.0).mean())


def expected_recall(answers: np.ndarray, k: int) -> float:
    """Expected recall@k of queries with `answers` correct answers each, among all m = `answers.sum()`.

    1 - C(m-p, k)/C(m, k) for a query with p answers: the hypergeometric chance that a draw of k meets at least one.
    """
    m = int(answers.sum())
    drawn = np.arange(min(k, m))
    missed = np.clip((m - answers[:, None] - drawn) / (m - drawn), 0, None).prod(axis=1)
    return float(1 - missed.mean())


def expected_median_rank(answers: np.ndarray) -> float:
    """The least rank r from 1 at which half of the queries, with `answers` each among all, expect their best one."""
    m = int(answers.sum())
    kinds, counts = np.unique(answers, return_counts=True)
    missed, r = counts.astype(np.float64), 0
    while missed.sum() > counts.sum() / 2:
        missed *= np.clip((m - kinds - r) / (m - r), 0, None)
        r += 1
    return float(r)
