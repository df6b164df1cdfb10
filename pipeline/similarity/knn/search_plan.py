"""What a search holds at once within its memory: rows, rounded rows, radii, candidates, and what each thread works on.

Rows that do not fit are given up in this order: the stored values, which only pairs in doubt need, are read again; the
candidates of a part of the rows are held at a time, for which each part meets all columns; one thread searches alone;
blocks of rows are read again for every other block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from structure.pipeline.device import cores

TILE_BYTES = 8 << 20
"""Bytes of one tile of products on a processor: small enough to stay in a shared cache while it is searched."""

HELD_PAIRS = 1.5
"""Candidates that are held for each neighbour, at most, where radii are not wide."""

RANKED_PAIRS = 1 << 18
"""Pairs that are ranked at once: what is computed of each takes about 100 bytes."""

_THREAD = 3 * TILE_BYTES + 160 * RANKED_PAIRS
"""Bytes that a thread works on: a tile, what of it is seen and within the radii, pairs that are ranked, their rows."""

_USED = 0.85
"""Of the memory, what is planned for; allocations between others leave gaps."""

_PARTS = 4
"""Parts of the rows in which their candidates are held, at most: more multiply nearly all twice."""

_ROW = 64
"""Bytes of a row's norm, radius, tilt, error bound and indices."""


@dataclass(frozen=True)
class SearchPlan:
    """`holds_values`: whether the rows as stored stay in memory; `block_rows`: rows of a block, `sweep_rows`: rows
    whose candidates are held at once; `at_once`: threads that search."""

    holds_values: bool
    block_rows: int
    sweep_rows: int
    at_once: int = 1


def plan_search(rows: int, width: int, itemsize: int, *, k: int, memory: int) -> SearchPlan:
    """For the `k` nearest of so many rows of `itemsize` bytes an entry, within `memory` bytes."""
    key = 2 if has_bfloat16_units() else 4
    row = width * (4 + (2 if has_bfloat16_units() else 0)) + _ROW
    searched = int(HELD_PAIRS * k) * (6 + key) + _ROW
    for at_once in sorted({cores(), 1}, reverse=True):
        free = int(_USED * memory) - at_once * _THREAD - rows * row
        for values in (rows * width * itemsize, 0):
            if free - values >= rows * searched:
                return SearchPlan(values > 0, rows, rows, at_once)
        if _PARTS * free >= rows * searched:
            parts = -(-rows * searched // free)
            return SearchPlan(False, rows, -(-rows // parts), at_once)
    return SearchPlan(False, max(256, memory // (8 * (row + width * itemsize))), memory // (4 * searched))


def groups_for(k: int) -> int:
    """A power of two from 2.5 k on."""
    return 1 << int(np.ceil(np.log2(2.5 * k)))


def has_bfloat16_units() -> bool:
    """Whether this processor multiplies bfloat16 in hardware; elsewhere float32 is the faster way."""
    supported = (getattr(torch.cpu, f"_is_{unit}_supported", None) for unit in ("avx512_bf16", "amx_tile"))
    return any(probe is not None and probe() for probe in supported)
