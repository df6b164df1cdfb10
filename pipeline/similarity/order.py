"""From candidates to an order: each pair is computed only as precisely as its rank requires.

Values come with error bounds. Where the intervals of two candidates do not meet, their order is settled; runs of
candidates whose intervals meet, and that reach into the first k, are computed again: float32, then float64, then 100
bits, after which equal means equal and the lower index comes first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

Refine = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, float]]
"""`(row, column)` -> float64 values of these pairs and a bound of their error."""

with warnings.catch_warnings():  # torch announces sparse CSR tensors once a process; take the notice here
    warnings.simplefilter("ignore")
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
        torch.from_numpy(np.searchsorted(row, np.arange(len(left) + 1))),
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


@dataclass(frozen=True)
class Table:
    """Candidates of some rows, padded: `column` (rows, most) int64 ascending in each row, `value` and `error` float64.

    Padding has value -inf and error 0.
    """

    column: np.ndarray
    value: np.ndarray
    error: np.ndarray

    @classmethod
    def padded(cls, rows: int, row: np.ndarray, column: np.ndarray, value: np.ndarray, error: np.ndarray) -> Table:
        """From a list of pairs ordered by row; `row` in `[0, rows)`."""
        edges = np.searchsorted(row, np.arange(rows + 1))
        place = np.arange(len(row)) - edges[row]
        most = int(np.diff(edges).max(initial=1))
        table = cls(np.zeros((rows, most), np.int64), np.full((rows, most), -np.inf), np.zeros((rows, most)))
        flat = row * most + place
        table.column.ravel()[flat] = column
        table.value.ravel()[flat] = value
        table.error.ravel()[flat] = error
        return table


def rank(table: Table, k: int, refinements: Sequence[Refine]) -> np.ndarray:
    """`(rows, k)` int64 columns by value descending, column ascending. The last refinement must be exact (error 0)."""
    out = np.empty((len(table.value), k), np.int64)
    rows = np.arange(len(out))
    column, value, error = table.column, table.value, table.error
    for refine in (*refinements, None):
        order = np.argsort(-value, axis=1) if refine else np.lexsort((column, -value), axis=1)
        column, value, error = (np.take_along_axis(side, order, axis=1) for side in (column, value, error))
        if refine is None:
            out[rows] = column[:, :k]
            break
        open_ = unsettled(value, error, k)
        undecided = open_.any(axis=1)
        out[rows[~undecided]] = column[~undecided, :k]
        rows, open_ = rows[undecided], open_[undecided]
        if not len(rows):
            break
        column, value, error = column[undecided], value[undecided], error[undecided]
        place, where = np.nonzero(open_)
        value[place, where], error[place, where] = refine(rows[place], column[place, where])
    return out


def unsettled(value: np.ndarray, error: np.ndarray, k: int) -> np.ndarray:
    """Which entries of rows sorted by value descending lie in a run of meeting intervals that begins before rank
    `k`."""
    lowest = np.minimum.accumulate(value - error, axis=1)
    highest = np.maximum.accumulate((value + error)[:, ::-1], axis=1)[:, ::-1]
    split = np.ones((len(value), value.shape[1] + 1), bool)
    split[:, 1:-1] = lowest[:, :-1] > highest[:, 1:]
    split[:, 1:-1] |= np.isneginf(value[:, 1:])
    open_ = ~(split[:, :-1] & split[:, 1:])
    open_[:, k:] &= ~np.logical_or.accumulate(split[:, k:-1], axis=1)
    return open_
