"""Medians of many resamples at once, exact, without sorting any of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LEVELS = 32
"""Distinct values that every median is compared with first."""


def weighted_median(values: np.ndarray, member: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The statistic `(replicate, clusters)` counts -> `(replicate,)` medians of `values`, `member` = their cluster.

    The median is the least value up to which at least half of what is drawn lies. How much lies up to some of the
    distinct values is a product of the counts with the number of each cluster's values up to there; between those two
    where every median must be, what is drawn is summed value by value.
    """
    levels, level = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True)
    order = np.argsort(level, kind="stable")
    ranked, owner, clusters = level[order], member[order], int(member.max()) + 1
    # Half the memory and twice the speed, where no sum can reach what it rounds.
    exact = np.float32 if clusters * int(np.bincount(member).max()) < 1 << 24 else np.float64
    some = np.unique(ranked[np.linspace(0, len(ranked) - 1, LEVELS).astype(np.int64)])  # the last level is one of them
    place = member * len(some) + np.searchsorted(some, level)
    up_to_some = np.bincount(place, minlength=clusters * len(some)).reshape(clusters, -1).cumsum(axis=1, dtype=exact)
    ends = np.concatenate([[0], np.searchsorted(ranked, some, side="right")])

    def medians(taken: np.ndarray) -> np.ndarray:
        taken = taken.astype(exact)
        drawn = taken @ up_to_some
        half = drawn[:, -1:] / 2
        reached = np.argmax(drawn >= half, axis=1)
        first, last = int(reached.min()), int(reached.max())
        if first == last and ranked[ends[first]] == some[first]:
            return np.full(len(taken), levels[some[first]])
        so_far = np.cumsum(taken[:, owner[ends[first] : ends[last + 1]]], axis=1)
        if first:
            so_far += drawn[:, first - 1 : first]
        return np.asarray(levels[ranked[ends[first] + np.argmax(so_far >= half, axis=1)]])

    return medians
