"""Folds of the training pairs that no group straddles: captions of one image, duplicates, rows of one patient."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from structure.store.errors import StructureError


class TooFewPairsError(StructureError):
    """There are too few pairs, or groups of them, for a cross-validation."""


def joint_groups(rows: int, *keys: Sequence[Hashable | None]) -> np.ndarray:
    """(rows,) int64, counted from 0 in the order of the rows: rows that share a value in any of `keys` are one group,
    directly or through others. Each of `keys` has one value a row; None is shared with nobody."""
    group = np.arange(rows)
    for values in keys:
        if len(values) != rows:
            raise ValueError(f"{len(values)} keys for {rows} rows")
    named = [first_with(values) for values in keys]
    while True:  # each time every row takes the lowest group of those that share a value with it
        before = group
        for first in named:
            lowest = group.copy()
            np.minimum.at(lowest, first, group)
            group = lowest[first]
        if np.array_equal(group, before):
            return np.unique(group, return_inverse=True)[1].astype(np.int64).reshape(rows)


def first_with(values: Sequence[Hashable | None]) -> np.ndarray:
    """(rows,) int64: the first row with the same value as each; None is no value, and shared with nobody."""
    distinct = set(values) - {None}
    if len(distinct) + values.count(None) == len(values):
        return np.arange(len(values))
    first: dict[Hashable, int] = {}
    return np.array([row if v is None else first.setdefault(v, row) for row, v in enumerate(values)], dtype=np.int64)


def row_keys(rows: Iterable[np.ndarray]) -> list[bytes]:
    """A key for each feature row, the same for the same numbers."""
    return [np.ascontiguousarray(row).tobytes() for row in rows]


def assign_folds(groups: np.ndarray, *, folds: int, seed: int) -> np.ndarray:
    """(rows,) int64: the fold of every row, 0 to `folds` - 1. A group is in one fold; groups are drawn in a seeded
    order, large ones first, each into the fold that is smallest so far.

    Raises TooFewPairsError for fewer groups than folds.
    """
    sizes = np.bincount(groups)
    if folds < 2:
        raise StructureError(f"--folds {folds}: cross-validation needs at least 2.")
    if len(sizes) < folds:
        raise TooFewPairsError(
            f"The {len(groups):,} training pairs are {len(sizes)} groups of duplicates or of one --group value, fewer "
            f"than {folds} folds: no fold could be held out whole. Pass --folds {max(len(sizes), 2)}, another --group, "
            "or name the --method."
        )
    drawn = np.random.default_rng(seed).permutation(len(sizes))
    order = drawn[np.argsort(-sizes[drawn], kind="stable")]
    filled = np.zeros(folds, dtype=np.int64)
    fold_of_group = np.empty(len(sizes), dtype=np.int64)
    for group in order[: np.count_nonzero(sizes)]:  # numbers that no row has come last
        smallest = int(np.argmin(filled))
        fold_of_group[group] = smallest
        filled[smallest] += sizes[group]
    return np.asarray(fold_of_group[groups])


def draw_rows(rows: np.ndarray, groups: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """About `count` of `rows` (row numbers), ascending, as whole groups in a seeded order; all where there are not
    more. The draw of a smaller count is part of that of a larger one."""
    if count >= len(rows):
        return np.sort(rows)
    position = np.random.default_rng(seed).permutation(int(groups.max()) + 1)[groups[rows]]
    last = np.searchsorted(np.bincount(position).cumsum(), max(count, 1))  # the group with which there are enough
    return np.sort(rows[position <= last])
