"""Samples that repeat are ranked once: copies fill each other's neighbour lists and say nothing about the two
spaces."""

from __future__ import annotations

from collections import Counter
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
    count = len(keys[0]) if keys else 0
    stays = np.ones(count, dtype=bool)
    seen: list[set[Hashable]] = [set() for _ in keys]
    for row in _repeating(count, keys):  # all others have keys of their own
        own = [values[row] for values in keys]
        stays[row] = not any(key is not None and key in past for key, past in zip(own, seen, strict=True))
        if stays[row]:
            for key, past in zip(own, seen, strict=True):
                past.add(key)
    rows = np.flatnonzero(stays)
    return Deduplicated(rows, count - len(rows))


def _repeating(count: int, keys: Sequence[Sequence[Hashable]]) -> list[int]:
    """Rows, ascending, of which some key is another row's, too."""
    repeats = np.zeros(count, dtype=bool)
    for values in keys:
        if len(values) != count:
            raise ValueError(f"{len(values)} keys for {count} rows")
        if len(set(values) - {None}) + values.count(None) == count:
            continue
        times = Counter(values)
        repeats |= [value is not None and times[value] > 1 for value in values]
    rows: list[int] = np.flatnonzero(repeats).tolist()
    return rows
