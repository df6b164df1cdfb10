"""Samples that repeat are ranked once: copies fill each other's neighbour lists and say nothing about the two
spaces."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Deduplicated:
    """`rows` (n,) int64 ascending: the rows that stay; `duplicates`: how many repeated an earlier one."""

    rows: np.ndarray
    duplicates: int


def deduplicate(*keys: Sequence[Hashable]) -> Deduplicated:
    """Keep a row if none of its keys was a key of an earlier row that stays; all sequences have one entry a row.

    Keys are what makes two rows the same sample: its id (five captions of one image), the image's digest, the text.
    `None` is no key.
    """
    seen: list[set[Hashable]] = [set() for _ in keys]
    distinct = []
    for row, own in enumerate(zip(*keys, strict=True)):
        if any(key is not None and key in past for key, past in zip(own, seen, strict=True)):
            continue
        distinct.append(row)
        for key, past in zip(own, seen, strict=True):
            past.add(key)
    count = len(keys[0]) if keys else 0
    return Deduplicated(np.array(distinct, dtype=np.int64), count - len(distinct))
