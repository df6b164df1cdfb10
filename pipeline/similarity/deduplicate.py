"""Items that repeat are ranked once: copies fill each other's neighbour lists and say nothing about the two spaces."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Deduplicated:
    """`kept` (n,) int64 ascending: rows that are ranked; `folded`: how many repeated an earlier one."""

    kept: np.ndarray
    folded: int


def deduplicate(*keys: Sequence[Hashable]) -> Deduplicated:
    """Keep a row if none of its keys was a key of an earlier kept row; all sequences have one entry a row.

    Keys are what makes two rows the same item: its id (five captions of one image), the picture's digest, the text.
    `None` is no key.
    """
    seen: list[set[Hashable]] = [set() for _ in keys]
    kept = []
    for row, own in enumerate(zip(*keys, strict=True)):
        if any(key is not None and key in past for key, past in zip(own, seen, strict=True)):
            continue
        kept.append(row)
        for key, past in zip(own, seen, strict=True):
            past.add(key)
    rows = len(keys[0]) if keys else 0
    return Deduplicated(np.array(kept, dtype=np.int64), rows - len(kept))
