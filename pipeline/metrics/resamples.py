"""How often a bootstrap draws each unit: the same for every statistic of as many units, so it is drawn once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

COUNTS_AT_ONCE = 1 << 22
"""Resampling counts (replicate x unit) held at one time: 32 MiB."""

KEPT_COUNTS = 1 << 24
"""Counts of one number of units that are kept for the next statistic, mostly a byte each."""


def resamples(counts: np.ndarray, *, seed: int, replicates: int) -> Iterator[np.ndarray]:
    """`replicates` resamples of `counts.sum()` units that come in `len(counts)` kinds, some at a time: how often each
    kind is drawn, `(replicate, kind)` whole numbers in float64, where BLAS multiplies and they are exact to 2^53."""
    total = int(counts.sum())
    if total != len(counts):
        random, share = np.random.default_rng(seed), counts / total
        for size in _steps(replicates, len(counts)):
            yield random.multinomial(total, share, size=size).astype(np.float64)
    elif replicates * total <= KEPT_COUNTS:
        yield from (part.astype(np.float64) for part in _kept_draws(total, seed, replicates))
    else:
        yield from (part.astype(np.float64) for part in _draws(total, seed, replicates))


@lru_cache(maxsize=4)
def _kept_draws(units: int, seed: int, replicates: int) -> tuple[np.ndarray, ...]:
    """`_draws` in the smallest integers that hold them."""
    return tuple(part.astype(np.min_scalar_type(int(part.max()))) for part in _draws(units, seed, replicates))


def _draws(units: int, seed: int, replicates: int) -> Iterator[np.ndarray]:
    """Units that are all their own kind: drawing them one by one is several times faster than a multinomial."""
    random = np.random.default_rng(seed)
    for size in _steps(replicates, units):
        chosen = random.integers(units, size=(size, units)) + np.arange(size)[:, None] * units
        yield np.bincount(chosen.ravel(), minlength=size * units).reshape(size, units)


def _steps(replicates: int, kinds: int) -> Iterator[int]:
    step = max(1, COUNTS_AT_ONCE // kinds)
    yield from (min(step, replicates - at) for at in range(0, replicates, step))
