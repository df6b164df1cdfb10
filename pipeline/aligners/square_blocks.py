"""Square matrices and their transposes, in place, by pairs of blocks that fit the cache.

torch copies a transpose several times as fast where it is that of a contiguous matrix, and rows of a block that are a
power of two apart evict each other from the cache: each block is therefore copied before it is transposed.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

BLOCK = 256
"""Rows and columns of a block, and rows of a strip of them."""


def transpose_(square: torch.Tensor) -> torch.Tensor:
    """A square matrix (n, n) transposed in place."""
    for above, below in _pairs(square):
        upper, lower = _transposed(below), _transposed(above)
        above.copy_(upper)
        below.copy_(lower)
    return square


def add_transpose_(square: torch.Tensor) -> torch.Tensor:
    """A + A^T in the place of A (n, n)."""
    for above, below in _pairs(square):
        both = _transposed(below).add_(above)
        above.copy_(both)
        below.copy_(_transposed(both))
    return square


def mirror_(square: torch.Tensor) -> torch.Tensor:
    """The blocks above the diagonal ones of (n, n) transposed into those below, whatever these held."""
    for above, below in _pairs(square, beside=BLOCK):
        below.copy_(_transposed(above))
    return square


def _pairs(square: torch.Tensor, *, beside: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Blocks from so many columns beside the diagonal on, and their mirror images."""
    for top in range(0, len(square), BLOCK):
        for left in range(top + beside, len(square), BLOCK):
            yield square[top : top + BLOCK, left : left + BLOCK], square[left : left + BLOCK, top : top + BLOCK]


def _transposed(block: torch.Tensor) -> torch.Tensor:
    # Copies, also of a block of one row, which lies in memory as its transpose does.
    return block.clone(memory_format=torch.contiguous_format).T.clone(memory_format=torch.contiguous_format)
