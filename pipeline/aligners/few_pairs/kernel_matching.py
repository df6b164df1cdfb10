"""Which row of one small set belongs to which of another, from the similarities within each: quadratic assignment.

The permutation p that maximises sum_ij K_ij L_p(i)p(j) + sum_i F_ip(i), by 2-opt from random starts: of all exchanges
of two rows the one that gains most, until none gains. SciPy's `quadratic_assignment` takes the first that gains, one
start at a time, and has no linear part F; here all starts move at once.
"""

from __future__ import annotations

import numpy as np

GAIN = 1e-9
"""Share of the objective's scale by which an exchange must gain: less is rounding."""


def centred_kernel(rows: np.ndarray) -> np.ndarray:
    """(n, n) float64: the Gram matrix of rows (n, width) less their mean."""
    values = np.asarray(rows, dtype=np.float64)
    values = values - values.mean(axis=0)
    return np.asarray(values @ values.T)


def match_kernels(
    first: np.ndarray,
    second: np.ndarray,
    *,
    restarts: int,
    random: np.random.Generator,
    linear: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """The best permutation (n,) of `restarts` and its objective: row i of `first` (n, n) with row p(i) of `second`.

    Both are symmetric; `linear` (n, n) is F.
    """
    n = len(first)
    bonus = np.zeros((n, n)) if linear is None else linear
    starts = np.argsort(random.random((restarts, n)), axis=1)
    least = GAIN * (np.abs(first).sum() * np.abs(second).max() + np.abs(bonus).max() * n)
    active = np.arange(restarts)
    while len(active):
        gains = exchange_gains(first, second, bonus, starts[active]).reshape(len(active), n * n)
        best = gains.argmax(axis=1)
        moves = gains[np.arange(len(active)), best] > least
        active, best = active[moves], best[moves]
        one, other = np.divmod(best, n)
        starts[active, one], starts[active, other] = starts[active, other], starts[active, one]
    values = objectives(first, second, bonus, starts)
    winner = int(values.argmax())
    return starts[winner], float(values[winner])


def objectives(first: np.ndarray, second: np.ndarray, linear: np.ndarray, permutations: np.ndarray) -> np.ndarray:
    """(s,) of permutations (s, n)."""
    permuted = second[permutations[:, :, None], permutations[:, None, :]]
    alone = np.take_along_axis(linear[None], permutations[:, :, None], axis=2).sum(axis=(1, 2))
    return np.asarray((first * permuted).sum(axis=(1, 2)) + alone)


def exchange_gains(first: np.ndarray, second: np.ndarray, linear: np.ndarray, permutations: np.ndarray) -> np.ndarray:
    """(s, n, n): what the objective of each permutation (s, n) gains where rows i and j exchange their partners."""
    permuted = second[permutations[:, :, None], permutations[:, None, :]]
    mixed = first @ permuted
    own = np.diagonal(mixed, axis1=1, axis2=2)
    inner = np.diagonal(first)
    outer = np.diagonal(permuted, axis1=1, axis2=2)
    crossed = mixed + np.swapaxes(mixed, 1, 2) - own[:, :, None] - own[:, None, :]
    # Of the products the terms of rows i and j themselves are counted differently.
    ends = (inner[:, None] - first) * (permuted - outer[:, :, None])
    ends = ends + np.swapaxes(ends, 1, 2)
    squares = (inner[:, None] - inner) * (outer[:, None, :] - outer[:, :, None])
    gains = 2 * (crossed - ends) + squares
    taken = linear[np.arange(linear.shape[0])[None, :, None], permutations[:, None, :]]  # F_i,p(j)
    kept = np.diagonal(taken, axis1=1, axis2=2)
    return np.asarray(gains + taken + np.swapaxes(taken, 1, 2) - kept[:, :, None] - kept[:, None, :])
