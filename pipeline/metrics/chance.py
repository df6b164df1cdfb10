"""What a random order gives: expected recall, average precision and median rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from structure.pipeline.metrics.registry import pattern_of

SATURATED = 1 / 3
"""Chance from which on a recall@k tells little: of 17 images a random order has the right one among ten in .588."""


def unsaturated_ks(ks: Sequence[int], gallery: int) -> tuple[int, ...]:
    """The k of recall@k whose chance in a gallery of that size is below `SATURATED`; the least one at any rate."""
    return tuple(k for k in ks if k <= SATURATED * gallery) or (min(ks),)


def shown_rows(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> list[Mapping[str, Any]]:
    """The rows of these metrics, in their order; of a recall@k that is saturated those of the greatest smaller k that
    is not, or of the least k. Rows have `dataset`, `metric` and `chance`."""
    chance = {(row["dataset"], row["metric"]): row["chance"] for row in rows}
    wanted = {(dataset, _instead(dataset, metric, chance)) for dataset, metric in chance if metric in metrics}
    return [row for row in rows if (row["dataset"], row["metric"]) in wanted]


def _instead(dataset: str, metric: str, chance: Mapping[tuple[str, str], float | None]) -> str:
    pattern, k = pattern_of(metric)
    level = chance[dataset, metric]
    if k is None or "recall" not in pattern or level is None or level <= SATURATED:
        return metric
    others = {pattern_of(name): (name, at) for (of, name), at in chance.items() if of == dataset and at is not None}
    smaller = sorted(
        (other, name, at) for (same, other), (name, at) in others.items() if same == pattern and other and other < k
    )
    fine = [name for _, name, at in smaller if at <= SATURATED]
    return fine[-1] if fine else smaller[0][1] if smaller else metric


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
    kinds, counts = np.unique(answers, return_counts=True)
    return _expected_median_rank(tuple(kinds.tolist()), tuple(counts.tolist()))


@lru_cache  # the same of every aligner on one set of captions
def _expected_median_rank(answers: tuple[float, ...], queries: tuple[int, ...]) -> float:
    """The same of so many queries with so many answers each."""
    kinds, counts = np.array(answers), np.array(queries)
    m = int((kinds * counts).sum())
    missed, r = counts.astype(np.float64), 0
    while missed.sum() > counts.sum() / 2:
        missed *= np.clip((m - kinds - r) / (m - r), 0, None)
        r += 1
    return float(r)
