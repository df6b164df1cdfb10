"""The nearest rows of every row of a layer, exactly, without a rows x rows array.

What exact means: neighbours are ordered by the cosine of the stored values, as a real number rounded to a multiple of
2**-50 (`extended_precision.GRID_BITS`), descending; equal cosines by index, ascending. The definition names no
machine, so the table does not depend on tile size, memory budget, thread count, processor or accelerator. It is
reached in steps that each prove what they leave out: low-precision products with an error bound
(`products_with_error_bounds`), the pairs that can be among the nearest (`candidates`, `search_radii`), then just those
whose order is still open (`refine_order`, `cosine_refinements`, `extended_precision`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from threading import BoundedSemaphore

import numpy as np
import torch

from structure.pipeline.device import give_memory_back, one_thread
from structure.pipeline.similarity.knn import refine_order as order
from structure.pipeline.similarity.knn.candidates import STRIP, Candidates, Sweep, TooManyCandidates, sweep_few
from structure.pipeline.similarity.knn.cosine_refinements import PairCosines, most_of_row
from structure.pipeline.similarity.knn.products_with_error_bounds import (
    BFloat16,
    Float32,
    PrecisionTooLowError,
    Products,
)
from structure.pipeline.similarity.knn.search_plan import RANKED_PAIRS, has_bfloat16_units
from structure.pipeline.similarity.knn.search_radii import CandidatePairs
from structure.pipeline.similarity.knn.unit_rows import Block, RowSlices, UnitRows, shape_of
from structure.store.errors import StructureError

MEMORY = 1 << 30
"""Default budget in bytes for one layer's search."""


_LARGE = 1 << 24
"""Entries of a layer after whose search memory is given back before the next."""

FEWEST_A_NEIGHBOUR = 32
"""Rows for each neighbour from which on bfloat16 products pay: candidates are few beside the columns."""


@dataclass(frozen=True)
class Neighbours:
    """The `k` nearest rows of each row of one layer: `table` (rows, k) int32, nearest first, never the row itself.

    `constant` says that all rows of the layer are equal in direction to the first: its table holds indices, not
    information.
    """

    table: np.ndarray
    constant: bool = False

    def __post_init__(self) -> None:
        if self.table.ndim != 2 or self.table.dtype != np.int32:
            raise TypeError(f"a neighbour table is (rows, k) int32, not {self.table.shape} {self.table.dtype}")

    @property
    def rows(self) -> int:
        return len(self.table)

    @property
    def k(self) -> int:
        return int(self.table.shape[1])


def neighbours(
    x: RowSlices, *, k: int, memory: int = MEMORY, device: str | torch.device | None = None, name: str = "x"
) -> np.ndarray:
    """`(rows, k)` int32: for each row of `x` (rows, width) the k rows of largest cosine, itself excluded, nearest
    first.

    `x` is a NumPy array, a tensor on any device, or anything with `.shape` whose slices give arrays (zarr, dask,
    h5py, a store's layer): it is read in blocks when it does not fit `memory` bytes. Order and ties as this module's
    docstring says; a zero row has cosine 0 with every row. `device` "cuda:0" computes the products there (default:
    where a tensor lies, else the processor). `name` is used in messages. Raises StructureError for fewer than k + 1
    rows, or a NaN or infinity.
    """
    return search(x, k=k, memory=memory, device=device, name=name).table


def search(
    x: RowSlices, *, k: int, memory: int = MEMORY, device: str | torch.device | None = None, name: str = "x"
) -> Neighbours:
    """As `neighbours`, and whether the layer is constant."""
    return joined([search_part(x, k=k, memory=memory, device=device, name=name)], k=k)


@dataclass(frozen=True)
class Part:
    """The search for the rows `[start, start + n)` of a layer, to be joined with the others.

    `lists` (n, k + 1) int32: the nearest of each row that is the first of its kind, itself included; `leader` (n,): the
    first row with the same values; `is_zero` (n,) bool: rows that point nowhere.
    """

    start: int
    lists: np.ndarray
    leader: np.ndarray
    is_zero: np.ndarray
    constant: bool


def search_part(
    x: RowSlices,
    *,
    k: int,
    start: int = 0,
    stop: int | None = None,
    memory: int = MEMORY,
    device: str | torch.device | None = None,
    name: str = "x",
) -> Part:
    """The search for the rows `[start, stop)` among all rows: one task of many, wherever it runs."""
    count, _ = shape_of(x, name)
    if k < 1:
        raise StructureError(f"k is {k}: a row needs at least one neighbour. Pass --k rice, or a number of 1 or more.")
    if count < k + 1:
        raise StructureError(
            f"Layer {name} has {count} rows; {k} neighbours of each need at least {k + 1}, because a row is not "
            f"its own neighbour. Pass --k {max(count - 1, 1)} or less, --k rice, or extract more rows."
        )
    where = (
        torch.device(device) if device is not None else x.device if isinstance(x, torch.Tensor) else torch.device("cpu")
    )
    rows = UnitRows(x, k=k, memory=memory, name=name)
    span = slice(start, count if stop is None else min(stop, count))
    lists = _lists(rows, k + 1, where, memory, span)
    if rows.rows * rows.width >= _LARGE:
        give_memory_back()
    return Part(start, lists, rows.leader[span], rows.norms[span] == 0, rows.is_constant())


def joined(parts: Sequence[Part], *, k: int) -> Neighbours:
    """The table of a layer from parts that cover its rows, in order."""
    lists, leader, is_zero = (
        np.concatenate([getattr(part, field) for part in parts]) for field in ("lists", "leader", "is_zero")
    )
    own = lists[leader]  # copies take the list of the first of their kind
    own[is_zero] = np.arange(k + 1)  # cosine 0 with every row: the lowest indices
    keep = own != np.arange(len(own))[:, None]
    keep[keep.all(axis=1), k] = False  # itself left out, or the last entry where it is not in the list
    return Neighbours(own[keep].reshape(len(own), k), constant=parts[0].constant)


def _lists(rows: UnitRows, k: int, device: torch.device, memory: int, span: slice) -> np.ndarray:
    """`(rows of the span, k)` int32: the k nearest of each non-zero row that is the first of its kind, itself included;
    others are 0."""
    lists = np.zeros((span.stop - span.start, k), np.int32)
    first, last = (int(edge) for edge in np.searchsorted(rows.eligible, (span.start, span.stop)))
    searched = (rows.leader[rows.eligible] == rows.eligible) & (rows.norms[rows.eligible] > 0)
    searched[:first] = searched[last:] = False
    narrow = device.type == "cpu" and worth_narrowing(rows, k)
    at_once = rows.plan.at_once if device.type == "cpu" else 1
    with one_thread() if at_once > 1 else nullcontext():  # torch's own threads would wait beside those of the sweep
        products = Products(rows, BFloat16 if narrow else Float32, device, k)
    most = max(memory // (256 * at_once), len(searched))

    ranks = BoundedSemaphore(at_once if rows.plan.holds_values else 1 + at_once // 4)

    def store(candidates: Candidates) -> None:
        with ranks:
            for positions, nearest in _nearest(products, candidates, k, most):
                lists[rows.eligible[positions] - span.start] = rows.eligible[nearest]

    height = max(rows.plan.sweep_rows, STRIP)
    for start in range(first, last, height):
        part = slice(start, min(start + height, last))
        if not searched[part].any():
            continue
        try:
            Sweep(products, part, searched, k=k, most=most, at_once=at_once).run(store)
        except PrecisionTooLowError:
            products = Products(rows, Float32, device, k)
            Sweep(products, part, searched, k=k, most=most, at_once=at_once).run(store)
    return lists


Nearest = tuple[np.ndarray, np.ndarray]
"""`(n,)` positions among the eligible rows and `(n, k)` those of their nearest."""


def _nearest(products: Products, candidates: Candidates, k: int, most: int) -> Iterator[Nearest]:
    """The nearest of all searched rows of a panel."""
    pairs = candidates.pairs
    first = np.searchsorted(pairs.row, np.arange(candidates.stop - candidates.start + 1))
    for a, b in _cut(first) if products.rows.is_held else [(0, len(first) - 1)]:  # else all blocks are read for each
        part = pairs[slice(first[a], first[b])]
        part = CandidatePairs(part.row - np.int32(a), part.column, part.key)
        yield _ranked(products, candidates.block, np.arange(candidates.start + a, candidates.start + b), part, k)
    if len(candidates.left_out):
        single = products
        if products.precision is not Float32:
            single = Products(products.rows, Float32, products.device, k)
        yield from _crowded(single, candidates.block, candidates.left_out, k, most)


def _cut(first: np.ndarray) -> Iterator[tuple[int, int]]:
    """Stretches of rows with about `RANKED_PAIRS` pairs each; the pairs of row i are `[first[i], first[i + 1])`."""
    inner = np.searchsorted(first, np.arange(RANKED_PAIRS, first[-1], RANKED_PAIRS))
    yield from pairwise(np.unique([0, *inner, len(first) - 1]).tolist())


def worth_narrowing(rows: UnitRows, k: int) -> bool:
    """Whether bfloat16 products pay: the processor has units for them, and candidates are few beside the columns."""
    return has_bfloat16_units() and rows.width >= 32 and len(rows.eligible) >= FEWEST_A_NEIGHBOUR * k


def _crowded(products: Products, block: Block, positions: np.ndarray, k: int, most: int) -> Iterator[Nearest]:
    """The nearest of rows among many near-ties: fewer rows at a time."""
    waiting = [positions[first : first + STRIP] for first in range(0, len(positions), STRIP)]
    while waiting:
        part = waiting.pop()
        try:
            pairs = sweep_few(products, block, part, k, most)
        except TooManyCandidates:
            waiting += [part[: len(part) // 2], part[len(part) // 2 :]]
            continue
        yield _ranked(products, block, part, pairs, k)


def _ranked(products: Products, block: Block, positions: np.ndarray, pairs: CandidatePairs, k: int) -> Nearest:
    """The nearest of those rows of a block that have candidates; `pairs` count rows within `positions`, and lie by
    row."""
    cosines = PairCosines(products.rows, block, positions - block.start, products.device)
    if products.precision is Float32:
        own, other = products.bounds.error[positions][pairs.row], products.bounds.error[pairs.column]
        value = 1.0 - (pairs.key.astype(np.float64) + own + other)
        error = own + most_of_row(pairs.row, other)
    else:
        value, error = cosines.single(pairs.row, pairs.column)
    nearest = order.rank(pairs.row, pairs.column, value, error, k, [cosines.double, cosines.exact])
    has_any = np.bincount(pairs.row, minlength=len(positions)) > 0
    return positions[has_any], nearest
