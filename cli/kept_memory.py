"""Which blocks of memory the C library keeps when they are given back, where it is glibc."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
BATCH = 2**30
"""Bytes of the largest block that the next batch of a model needs again."""

PIECE = 2**22
"""Bytes of the largest block that a search within a budget of memory has kept: what it needs again and again, it
holds."""


def keep_memory() -> None:
    """Have blocks of up to `BATCH` bytes kept that are given back.

    Those above 32 MiB go to the system otherwise, and every batch of images pays for new pages: MobileNetV2 read 11
    images a processor second on a CPU without this and 30 with it.
    """
    _set({M_TRIM_THRESHOLD: BATCH, M_MMAP_THRESHOLD: BATCH})


def give_memory_back() -> None:
    """Have blocks above `PIECE` bytes go to the system, and those of all threads lie in one place: where few blocks are
    large and none is needed twice, gaps between blocks that are kept cost more than new pages."""
    _set({M_TRIM_THRESHOLD: PIECE, M_MMAP_THRESHOLD: PIECE, M_ARENA_MAX: 1})


def _set(values: dict[int, int]) -> None:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for option, value in values.items():
        mallopt(option, value)
