"""How large a neighbour search is, from rows and widths alone: what it writes, computes and holds."""

from __future__ import annotations

from collections.abc import Iterable

INDEX_BYTES = 4
"""Of one neighbour in a table, int32."""


SUBSET_SIZES = (100, 500, 1000, 5000)
"""Rows of the random subsets on which a ranking is repeated, where it has more."""


def table_bytes(layers: int, rows: int, k: int) -> int:
    """Bytes of the neighbour tables (rows, k) of so many layers."""
    return layers * rows * k * INDEX_BYTES


def search_operations(rows: int, widths: Iterable[int]) -> float:
    """Floating-point operations of the products of all rows with all rows, 2 n^2 d, of layers of these widths."""
    return 2.0 * rows**2 * sum(widths)


def repeat_operations(rows: int, widths: Iterable[int], *, repeats: int) -> float:
    """Operations of the products of the subsets of `rows` rows, `repeats` of each size."""
    width = sum(widths)
    return sum(repeats * search_operations(size, (width,)) for size in SUBSET_SIZES if size < rows)


def held_bytes(rows: int, width: int) -> int:
    """Bytes of the rows of one layer while it is searched: four times over as float32."""
    return 4 * 4 * rows * width
