"""Cosines of stored rows to about 100 bits, for the few pairs that double precision cannot tell apart.

A number is a pair (high, low) of float64 whose sum it is. Error-free sums and products: Knuth's TwoSum and Dekker's
TwoProduct (Ogita, Rump, Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26, 2005, algorithms 3.1-3.3).
Element by element IEEE arithmetic, so the result is the same on every machine.
"""

from __future__ import annotations

import numpy as np

GRID_BITS = 50
"""Cosines are compared after rounding to a multiple of 2**-50 (9e-16), the place where double precision ends."""

Pair = tuple[np.ndarray, np.ndarray]


def two_sum(a: np.ndarray, b: np.ndarray) -> Pair:
    """a + b = high + low exactly."""
    high = a + b
    back = high - a
    return high, (a - (high - back)) + (b - back)


def two_product(a: np.ndarray, b: np.ndarray) -> Pair:
    """a * b = high + low exactly, barring overflow and underflow."""
    high = a * b
    a1, a2 = _split(a)
    b1, b2 = _split(b)
    return high, a2 * b2 - (((high - a1 * b1) - a2 * b1) - a1 * b2)


def _split(a: np.ndarray) -> Pair:
    scaled = a * 134217729.0  # 2**27 + 1
    high = scaled - (scaled - a)
    return high, a - high


def dot(a: np.ndarray, b: np.ndarray) -> Pair:
    """Row-wise inner products of two `(pairs, width)` float64 arrays, summed as a binary tree."""
    high, low = two_product(a, b)
    error = low.sum(axis=1)
    while high.shape[1] > 1:
        if high.shape[1] % 2:
            high = np.pad(high, ((0, 0), (0, 1)))
        high, low = two_sum(high[:, ::2], high[:, 1::2])
        error = error + low.sum(axis=1)
    return two_sum(high[:, 0], error)


def cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`(pairs,)` float64 cosines of the rows of two `(pairs, width)` arrays, rounded to a multiple of 2**-50.

    A zero row has cosine 0 with everything.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    squares = _times(dot(x, x), dot(y, y))
    zero = squares[0] <= 0
    squares = (np.where(zero, 1.0, squares[0]), np.where(zero, 0.0, squares[1]))
    root = np.sqrt(squares[0])
    back = two_product(root, root)
    norm = two_sum(root, ((squares[0] - back[0]) - back[1] + squares[1]) / (2.0 * root))
    product = dot(x, y)
    first = product[0] / norm[0]
    back = _times((first, 0.0 * first), norm)
    second = ((product[0] - back[0]) + (product[1] - back[1])) / norm[0]
    return np.where(zero, 0.0, _on_grid(two_sum(first, second)))


def products(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`(pairs,)` float64 inner products of the rows of two `(pairs, width)` arrays, rounded to a multiple of 2**-50."""
    return _on_grid(dot(x.astype(np.float64), y.astype(np.float64)))


def _on_grid(value: Pair) -> np.ndarray:
    high, low = value
    grid = 2.0**GRID_BITS
    whole = np.rint(high * grid)
    whole += np.rint((high * grid - whole) + low * grid)
    return np.asarray(whole / grid)


def _times(a: Pair, b: Pair) -> Pair:
    high, low = two_product(a[0], b[0])
    return two_sum(high, low + (a[0] * b[1] + a[1] * b[0]))
