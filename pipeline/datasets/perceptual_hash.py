"""Images that are nearly the same: a difference hash of each (Krawetz 2013, by rows and by columns), compared bit by
bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

SIDE = 8
NEAR = 8
"""Images whose hashes differ in at most this many of the 128 bits are taken for nearly the same."""

FLAT = 8
"""An image whose grey values span less than this (of 255) has no gradients to tell it by, and is near nothing."""

_AT_ONCE = 1 << 22


def difference_hash(image: Image.Image) -> np.ndarray | None:
    """(2,) uint64: is each cell of an 8 x 9 grid brighter than its right, and of a 9 x 8 grid than its lower neighbour.

    None for a flat image.
    """
    grey = image.convert("L")
    across = np.asarray(grey.resize((SIDE + 1, SIDE)), dtype=np.int16)
    down = np.asarray(grey.resize((SIDE, SIDE + 1)), dtype=np.int16)
    if int(np.ptp(across)) < FLAT:
        return None
    bits = np.concatenate([(np.diff(across, axis=1) > 0).ravel(), (np.diff(down, axis=0) > 0).ravel()])
    return np.packbits(bits).view(np.uint64)


def near_pairs(first: np.ndarray, second: np.ndarray, *, bits: int = NEAR) -> list[tuple[int, int]]:
    """(row of `first`, row of `second`) of every two hashes (n, 2) and (m, 2) uint64 that differ in at most `bits`."""
    pairs: list[tuple[int, int]] = []
    step = max(1, _AT_ONCE // max(1, len(second)))
    for start in range(0, len(first), step):
        apart = sum(
            np.bitwise_count(first[start : start + step, None, part] ^ second[None, :, part]).astype(np.int16)
            for part in (0, 1)
        )
        rows, columns = np.nonzero(apart <= bits)
        pairs += [(int(row) + start, int(column)) for row, column in zip(rows, columns, strict=True)]
    return pairs
