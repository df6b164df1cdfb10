"""Which samples belong together, by a column of the sample index: patients, sites, classes."""

from __future__ import annotations

import numpy as np

from structure.store import Samples
from structure.store.errors import unknown

OTHERS = ("sample", "caption_index", "stamp")
"""Columns of the sample index that say nothing of a sample."""


def group_values(samples: Samples, items: np.ndarray, column: str, *, option: str = "--group") -> list[str | None]:
    """The value of each of these samples (numbers of `samples`) in a column; None where it has none.

    Raises StructureError for a column that the sample index does not have, with those that it has.
    """
    names = [name for name in samples.column_names if name not in OTHERS]
    if column not in names:
        raise unknown(f"column of {option}", column, names, hint="A dataset's other columns are not in the store.")
    return [None if value is None else str(value) for value in samples.values(column, items)]


def numbered(values: list[str | None]) -> np.ndarray:
    """(n,) int64 group of each value, counted from 0 in the order of the values; None is a group of its own."""
    numbers: dict[object, int] = {}
    return np.array(
        [numbers.setdefault(row if value is None else value, len(numbers)) for row, value in enumerate(values)],
        dtype=np.int64,
    )


def whole_groups(groups: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """(m,) int64 ascending: rows of whole groups in a seeded order, as many groups as `count` rows hold, one at least;
    all rows where there are not more."""
    if count >= len(groups):
        return np.arange(len(groups))
    sizes = np.bincount(groups)
    drawn = np.random.default_rng(seed).permutation(len(sizes))
    most = max(1, int(np.searchsorted(np.cumsum(sizes[drawn]), count, side="right")))
    return np.flatnonzero(np.isin(groups, drawn[:most]))
