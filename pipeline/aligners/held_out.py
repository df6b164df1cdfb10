"""Which pairs are held out: a seeded draw, as row numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from structure.store.errors import StructureError

if TYPE_CHECKING:
    from structure.pipeline.aligners.arrays import Array

LEAST_PAIRS = 8
LEAST_HELD_OUT, MOST_HELD_OUT = 16, 4096


def held_out_pairs(pairs: int, share: float) -> int:
    """How many pairs a fit holds out."""
    return min(max(round(share * pairs), LEAST_HELD_OUT), pairs // 3, MOST_HELD_OUT)


def held_out(rows: int, *, share: float, seed: int, groups: Array | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (training, validation), each ascending int64: a seeded draw of `share` of the rows.

    At least 16 rows are held out (a third of the rows where that is fewer), at most 4,096. `groups` (rows,) names
    what a row belongs to, an image with several captions: a group is never on both sides. Raises StructureError
    below 8 rows.
    """
    if rows < LEAST_PAIRS:
        raise StructureError(
            f"{rows} pairs are too few: training needs at least {LEAST_PAIRS}, because some are held out. Add pairs."
        )
    wanted = held_out_pairs(rows, share)
    order = np.random.default_rng(seed).permutation(rows)
    if groups is None:
        return np.sort(order[wanted:]), np.sort(order[:wanted])
    labels = np.asarray(groups)
    if len(labels) != rows:
        raise ValueError(f"{len(labels)} groups for {rows} rows")
    _, first_seen, inverse = np.unique(labels[order], return_index=True, return_inverse=True)
    if len(first_seen) < 2:
        raise StructureError(
            f"All {rows} pairs belong to one sample: none can be held out. Add samples, or pass validation."
        )
    # Whole groups in the order of the draw, until enough rows are held out (never all of them).
    rank = np.empty(len(first_seen), dtype=np.int64)
    rank[np.argsort(first_seen)] = np.arange(len(first_seen))
    sizes = np.bincount(rank[inverse])
    count = min(int(np.searchsorted(np.cumsum(sizes), wanted)) + 1, len(sizes) - 1)
    out = rank[inverse] < count
    return np.sort(order[~out]), np.sort(order[out])
