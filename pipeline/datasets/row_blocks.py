"""Passes over arrays that may be larger than the memory: a block of rows at a time, of a mapped file no more held."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np

from structure.store.cast import all_finite

BLOCK_BYTES = 8 * 2**20
"""What a block has: little beside everything else, and much beside the cost of one more."""


def row_blocks(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(number of its first row, rows) of each block of an array (rows, ...), in order."""
    rows = max(1, BLOCK_BYTES // max(1, values[:1].nbytes))
    for start in range(0, len(values), rows):
        yield start, values[start : start + rows]
        forget(values)


def forget(values: np.ndarray) -> None:
    """Give back the memory of a mapped file's pages: what is needed again is read again. Nothing of other arrays."""
    base: object = values
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def bounds(values: np.ndarray) -> tuple[float, float]:
    """(low, high) of an array (rows, width) of floats: no value lies outside; NaN where there is one.

    The least and the greatest value, but for finite float16: there what float16 can hold, since its bits say that
    there is no more, and NumPy's loops over its values are ten times slower.
    """
    if values.dtype == np.float16 and all(all_finite(block) for _, block in row_blocks(values)):
        most = float(np.finfo(np.float16).max)
        return -most, most
    low, high = np.inf, -np.inf
    for _, block in row_blocks(values):
        low, high = float(np.minimum(low, block.min())), float(np.maximum(high, block.max()))
    return low, high
