"""k-means from seeded starts (k-means++), as scikit-learn's defaults have it: one start, 300 iterations at most.

Source: Lloyd, IEEE Trans. Inf. Theory 28 (1982); Arthur and Vassilvitskii, SODA 2007, with the greedy choice of the
best of 2 + log(k) draws.
"""

from __future__ import annotations

import math

import numpy as np
import torch

MOST_ITERATIONS = 300
TOLERANCE = 1e-4
"""Centres have settled when they move, squared, by less than this share of the mean variance."""

AT_ONCE = 1 << 24
"""Distances that are held at a time."""


def kmeans(
    rows: torch.Tensor, *, centres: int, random: np.random.Generator, start: torch.Tensor | None = None
) -> torch.Tensor:
    """(centres, width) of (n, width) rows: from `start` (centres, width), or from drawn rows. There must be at least as
    many rows as centres. A centre without rows is put on the row that is farthest from its own."""
    held = spread_rows(rows, centres, random) if start is None else start.clone()
    least = TOLERANCE * float(rows.var(dim=0, unbiased=False).mean())
    before: torch.Tensor | None = None
    for _ in range(MOST_ITERATIONS):
        of_row, apart = nearest(rows, held)
        if before is not None and bool((of_row == before).all()):
            break
        before = of_row
        moved = torch.zeros_like(held).index_add_(0, of_row, rows)
        counts = torch.bincount(of_row, minlength=centres)
        moved /= counts.clamp_min(1)[:, None]
        empty = torch.nonzero(counts == 0)[:, 0]
        if len(empty):
            moved[empty] = rows[apart.topk(len(empty)).indices]
        shift = float((moved - held).square().sum())
        held = moved
        if shift <= least:
            break
    return held


def spread_rows(rows: torch.Tensor, count: int, random: np.random.Generator) -> torch.Tensor:
    """(count, width): rows drawn far from each other, by the square of their distance to the nearest drawn one."""
    draws = 2 + int(math.log(count))
    chosen = [int(random.integers(len(rows)))]
    apart = squared_distances(rows, rows[chosen])[:, 0]
    while len(chosen) < count:
        ends = apart.double().cumsum(0)
        drawn = torch.searchsorted(ends, torch.from_numpy(random.random(draws)).to(ends) * ends[-1])
        candidates = drawn.clamp_max(len(rows) - 1)
        closer = torch.minimum(squared_distances(rows, rows[candidates]), apart[:, None])
        best = int(closer.double().sum(dim=0).argmin())
        chosen.append(int(candidates[best]))
        apart = closer[:, best]
    return rows[chosen].clone()


def nearest(rows: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n,) number of the nearest centre of each row, and the square of its distance."""
    step = max(1, AT_ONCE // len(centres))
    parts = [squared_distances(rows[at : at + step], centres).min(dim=1) for at in range(0, len(rows), step)]
    return torch.cat([part.indices for part in parts]), torch.cat([part.values for part in parts])


def squared_distances(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """(n, m), not below 0."""
    squares = rows.square().sum(dim=1)[:, None] + others.square().sum(dim=1)
    return squares.addmm_(rows, others.T, alpha=-2).clamp_min_(0)
