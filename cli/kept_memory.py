"""Which blocks of memory the C library keeps when they are given back, where it is glibc."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
BATCH = 2**30
"""Bytes of the largest block that the next batch of a model needs again."""

PIECE = 2**22
"""Bytes of the largest block that a search within a budget of memory has kept: what it needs again and again, it
holds."""


def keep_memory(block: int = BATCH) -> None:
    """Have blocks of up to so many bytes kept that are given back.

    Those above 32 MiB go to the system otherwise, and every batch of images pays for new pages: MobileNetV2 read 11
    images a processor second on a CPU without this and 30 with it. But between blocks that are kept lie gaps: where few
    blocks are large, and none is needed twice, memory is better given back.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
        mallopt(option, block)
