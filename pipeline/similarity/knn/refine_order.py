"""From candidates to an order: each pair is computed only as precisely as its rank requires.

Values come with error bounds. Where the intervals of two candidates do not meet, their order is settled; runs of
candidates whose intervals meet, and that begin before rank k, are computed again: float32, then float64, then 100
bits, after which equal means equal and the lower index comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from structure.store.without_warnings import without_warnings

Refine = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""`(row, column)` -> float64 values of these pairs and the bounds of their errors, which are alike within a row."""

with without_warnings():  # torch announces sparse CSR tensors once a process; take the notice here
    torch.sparse_csr_tensor([0, 1], [0], [0.0], size=(1, 1), check_invariants=False)


def dots(left: torch.Tensor, right: torch.Tensor, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """`(pairs,)` float64: `left[row] . right[column]` of `(rows, width)` tensors of one type; `row` ascending.

    Sums are taken in the tensors' own precision, in no particular order.
    """
    if not len(row):
        return np.empty(0)
    return (sampled if left.device.type == "cpu" else gathered)(left, right, row, column)


def sampled(left: torch.Tensor, right: torch.Tensor, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """`dots` as a sampled product: no row is copied."""
    pattern = torch.sparse_csr_tensor(
        torch.from_numpy(np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(left)))])),
        torch.from_numpy(column),
        torch.zeros(len(row), dtype=left.dtype),
        size=(len(left), len(right)),
        check_invariants=False,
    )
    product = torch.sparse.sampled_addmm(pattern, left, right.T, beta=0.0)
    return np.asarray(product.values().double().numpy())


def gathered(left: torch.Tensor, right: torch.Tensor, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """`dots` by gathering rows, for accelerators: memory is fast there and sparse kernels differ."""
    parts = []
    step = max(1, (256 << 20) // (left.shape[1] * left.element_size()))
    for a in range(0, len(row), step):
        i, j = (torch.from_numpy(side[a : a + step]).to(left.device) for side in (row, column))
        parts.append((left[i] * right[j]).sum(1).double().cpu().numpy())
    return np.concatenate(parts)


def rank(
    row: np.ndarray, column: np.ndarray, value: np.ndarray, error: np.ndarray, k: int, refinements: Sequence[Refine]
) -> np.ndarray:
    """`(rows, k)` int64: each row's first k columns by value descending, column ascending.

    Pairs `row`, `column`, `value`, `error` (pairs,) lie by row; each row that occurs has at least k and gets a line, in
    order. Within a row `value - error` and `value + error` fall with the value. The last refinement must be exact
    (error 0).
    """
    first = run_starts(row)
    ranks = np.arange(len(row)) - np.repeat(first, np.diff(first, append=len(row)))
    order = in_order(row, value, column)
    column, value, error = column[order].astype(np.int64), value[order], error[order]
    where, run = np.arange(len(row)), row
    for refine in refinements:
        where, run = unsettled(where, run, value, error, ranks, k)
        if not len(where):
            break
        value, error = refine(row[where], column[where])
        order = in_order(run, value, column[where])
        column[where], value, error = column[where[order]], value[order], error[order]
    nearest: np.ndarray = column[first[:, None] + np.arange(k)]
    return nearest


def run_starts(values: np.ndarray) -> np.ndarray:
    """(runs,) int64: where each run of equal values begins. As `flatnonzero(diff)`, several times as fast."""
    is_first = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=is_first[1:])
    return np.flatnonzero(is_first)


def in_order(run: np.ndarray, value: np.ndarray, column: np.ndarray) -> np.ndarray:
    """`(pairs,)` int64 that order pairs by run (ascending), then value descending, then column: as `np.lexsort` in a
    tenth of the time. Sorted are integers of the run and of the value less the run's first one, as float32, whose bits
    are in the order of the values once those of negative ones are turned round; where they are equal, more is looked
    at."""
    first = run_starts(run)
    size = np.diff(first, append=len(run))
    bits = (value - np.repeat(value[first], size)).astype(np.float32).view(np.int32)
    key = (np.repeat(np.arange(len(first)), size) << 32) - (bits ^ ((bits >> 31) & np.int32(2**31 - 1)))
    order = np.argsort(key)
    key = key[order]
    is_tied = np.zeros(len(key) + 1, bool)
    is_tied[1:-1] = key[1:] == key[:-1]
    tied = np.flatnonzero(is_tied[1:] | is_tied[:-1])
    among = order[tied]
    order[tied] = among[np.lexsort((column[among], -value[among], key[tied]))]
    return order


def unsettled(
    where: np.ndarray, run: np.ndarray, value: np.ndarray, error: np.ndarray, ranks: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which places are left, and in which run each lies: runs of meeting intervals that begin before rank `k`.

    `where` are places ascending, `run` says which of them lie together so far, by value descending; `ranks` are those
    of all places.
    """
    begins = np.ones(len(where), bool)
    begins[1:] = (run[1:] != run[:-1]) | (value[:-1] - error[:-1] > value[1:] + error[1:])
    starts = np.flatnonzero(begins)
    sizes = np.diff(starts, append=len(where))
    is_open = (sizes > 1) & (ranks[where[starts]] < k)
    return where[np.repeat(is_open, sizes)], np.repeat(starts[is_open], sizes[is_open])
