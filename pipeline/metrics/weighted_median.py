"""Medians of many resamples at once, exact, without sorting any of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LEVELS = 32
"""Distinct values that every median is compared with first."""


def weighted_median(values: np.ndarray, member: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The statistic `(replicate, clusters)` counts -> `(replicate,)` medians of `values`, `member` = their cluster.

    The median is the least value up to which at least half of what is drawn lies. How much that is, is a product of the
    counts with the number of each cluster's values up to there: asked first for a few of the distinct values, then for
    all of those among which some median must be.
    """
    levels, level = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True)
    clusters = int(member.max()) + 1
    # Half the memory and twice the speed, where no sum can reach what it rounds.
    exact = np.float32 if clusters * int(np.bincount(member).max()) < 1 << 24 else np.float64
    shares = np.cumsum(np.bincount(level)) / len(level)

    def up_to(asked: np.ndarray) -> np.ndarray:
        """(clusters, asked): how many values of each cluster are at most at each of these levels."""
        place = member * (len(asked) + 1) + np.searchsorted(asked, level)
        counts = np.bincount(place, minlength=clusters * (len(asked) + 1)).reshape(clusters, -1)
        return np.cumsum(counts[:, :-1], axis=1, dtype=exact)

    some = np.unique(np.searchsorted(shares, np.linspace(0, 1, LEVELS)))  # the last level is one of them
    up_to_some = up_to(some)

    def medians(taken: np.ndarray) -> np.ndarray:
        taken = taken.astype(exact)
        half = taken @ up_to_some[:, -1:] / 2
        place = np.argmax(taken @ up_to_some >= half, axis=1)
        first, last = int(place.min()), int(place.max())
        between = np.arange(some[first - 1] + 1 if first else 0, some[last] + 1)
        return np.asarray(levels[between[np.argmax(taken @ up_to(between) >= half, axis=1)]])

    return medians
