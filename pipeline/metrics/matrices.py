"""Rows of numbers from NumPy or torch, checked, brought to unit length and cut into blocks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import torch

from structure.pipeline.finite_rows import finite_rows
from structure.store.errors import StructureError

Array: TypeAlias = np.ndarray | torch.Tensor

SCORES_AT_ONCE = 1 << 23
"""Scores (queries x gallery) held at one time: 32 MiB in float32, whatever the sizes of the two sides."""


def as_tensor(values: Array) -> torch.Tensor:
    """The same numbers as a tensor on their own device; shares memory where the array may be written to."""
    if isinstance(values, torch.Tensor):
        return values.detach()
    array = np.asarray(values)
    # torch warns about read-only arrays (memory maps, Arrow columns), and nobody here writes: copy those.
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def as_numpy(values: Array) -> np.ndarray:
    """The same numbers as a NumPy array in main memory."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def as_scores(values: Array, *, name: str, first: int = 0) -> torch.Tensor:
    """A matrix of finite numbers, at least float32. Raises `StructureError` at a NaN or an infinity, naming its row.

    `first` is the number of the first row, for the message, when the matrix is a block of a longer one.
    """
    matrix = as_tensor(values)
    if matrix.ndim != 2:
        raise ValueError(f"{name} must be a matrix (rows, columns), got shape {tuple(matrix.shape)}")
    if matrix.dtype not in (torch.float32, torch.float64):
        matrix = matrix.float()
    finite = torch.cat(
        [finite_rows(matrix[rows]) for rows in blocks(*matrix.shape)] or [matrix.new_ones(0, dtype=torch.bool)]
    )
    if not bool(finite.all()):
        row = first + int((~finite).nonzero()[0])
        raise StructureError(
            f"{name}: {int((~finite).sum())} of {len(matrix)} rows hold a NaN or an infinity, first row {row}. "
            "They cannot be ranked. Look for the cause in the features or the aligner that made them."
        )
    return matrix


def unit_rows(values: Array, *, name: str, first: int = 0) -> torch.Tensor:
    """Rows divided by their L2 norm, `(rows, dim)`, at least float32. A row of zeros raises `StructureError`."""
    matrix = as_scores(values, name=name, first=first)
    norms = matrix.norm(dim=1, keepdim=True)
    usable = (norms[:, 0] > 0) & torch.isfinite(norms[:, 0])
    if not bool(usable.all()):
        row = int((~usable).nonzero()[0])
        raise StructureError(
            f"{name}: {int((~usable).sum())} of {len(matrix)} rows have no usable length, first row {first + row} "
            f"with norm {float(norms[row, 0]):g}. A cosine with them is undefined. Look for constant or dead features."
        )
    return matrix / norms


def as_labels(values: Array, *, rows: int, classes: int) -> torch.Tensor:
    """Class indices `(rows,)` as int64 in main memory, every one in `[0, classes)`; anything else is refused."""
    labels = as_tensor(values).cpu()
    if labels.ndim != 1 or labels.dtype.is_floating_point:
        raise ValueError(
            f"labels must be one class index a row, got shape {tuple(labels.shape)} of {labels.dtype}; "
            "0/1 rows over classes belong to multilabel_metrics"
        )
    if len(labels) != rows:
        raise StructureError(
            f"{rows} rows of scores but {len(labels)} labels: a row without its label cannot be judged."
        )
    labels = labels.long()
    outside = (labels < 0) | (labels >= classes)
    if bool(outside.any()):
        row = int(outside.nonzero()[0])
        raise StructureError(
            f"{int(outside.sum())} of {rows} labels lie outside the class list of {classes} names, "
            f"first row {row} with label {int(labels[row])}. Use the class list that the labels were made with."
        )
    return labels


def blocks(rows: int, columns: int, *, at_once: int = SCORES_AT_ONCE) -> Iterator[slice]:
    """Consecutive row ranges of a `(rows, columns)` matrix, each of at most `at_once` entries (or of one row)."""
    step = max(1, at_once // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
