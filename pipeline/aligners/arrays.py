"""What callers may pass: NumPy arrays or tensors of any float kind, on any device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch

from structure.pipeline.finite_rows import finite_rows
from structure.store.errors import StructureError

Array: TypeAlias = np.ndarray | torch.Tensor

AT_ONCE = 8192
"""Rows that are checked at a time."""


def as_tensor(values: Array) -> torch.Tensor:
    """The same numbers as a tensor; a NumPy array is shared where torch allows, copied where it is read-only."""
    if isinstance(values, torch.Tensor):
        return values
    array = np.asarray(values)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def whole(rows: Array) -> Array:
    """All rows in memory, where they are read on demand."""
    return rows if isinstance(rows, torch.Tensor) else rows[:]


def some_rows(sides: Sequence[Array], count: int, *, seed: int) -> list[Array]:
    """`count` rows of both sides in memory, the same of each, drawn by the seed and in their order; all of them where
    there are not more."""
    rows = len(sides[0])
    if count >= rows:
        return [whole(side) for side in sides]
    drawn = np.sort(np.random.default_rng(seed).permutation(rows)[:count])
    return [whole(side[drawn]) for side in sides]


def computing_dtype(*values: torch.Tensor) -> torch.dtype:
    """float64 where any input is float64, else float32: half precision is for storing, never for losses."""
    return torch.float64 if any(value.dtype == torch.float64 for value in values) else torch.float32


def check_rows(features: Array, what: str, *, width: int | None = None) -> None:
    """Raises StructureError unless `features` is (rows, width), finite, of the width expected; names the bad row.

    Rows that are read on demand are checked by their reader: this would read them all once more.
    """
    if features.ndim != 2:
        raise StructureError(f"{what} features must be (rows, width); these have shape {tuple(features.shape)}.")
    if width is not None and features.shape[1] != width:
        raise StructureError(
            f"{what} features are {features.shape[1]} wide; this aligner was made for {width}. "
            "Take the layer it was trained on (`structure align` prints it), or train another aligner."
        )
    if not isinstance(features, np.ndarray | torch.Tensor):
        return
    for start in range(0, len(features), AT_ONCE):
        chunk = as_tensor(features[start : start + AT_ONCE])
        finite = finite_rows(chunk)
        if not bool(finite.all()):
            bad = start + int(torch.nonzero(~finite)[0])
            raise StructureError(
                f"Row {bad} of the {what} features holds a NaN or an infinity; every head would learn nothing else. "
                "Run `structure store verify`, or extract this feature set again."
            )


def check_counts(vision: int, text: int, *, least: int, why: str) -> None:
    """Raises StructureError unless both sides have one row count, of `least` or more."""
    if vision != text:
        raise StructureError(
            f"There are {vision} vision rows and {text} text rows; row i must pair with row i. "
            "Select the pairs of both sides by the same ids."
        )
    if vision < least:
        raise StructureError(f"{vision} pairs are too few: {why} needs at least {least}. Add pairs with --pairs.")


def check_pairs(vision: Array, text: Array, *, least: int, why: str) -> None:
    """Raises StructureError unless row i pairs with row i, all is finite, nothing is constant, and rows >= `least`."""
    check_rows(vision, "vision")
    check_rows(text, "text")
    check_counts(len(vision), len(text), least=least, why=why)
    for side, what in ((vision, "vision"), (text, "text")):
        if len(side) < 2:
            continue
        rows = as_tensor(side[:256])
        if bool((rows == rows[0]).all()) and _is_constant(side):
            raise StructureError(
                f"The {what} features are constant: all {len(side)} rows are the same, so nothing can be aligned. "
                "Choose another layer or pooling."
            )


def _is_constant(rows: Array) -> bool:
    """Whether all rows are the same; rows that are read on demand are read some at a time."""
    first = as_tensor(rows[:1])
    return all(bool((as_tensor(rows[at : at + AT_ONCE]) == first).all()) for at in range(0, len(rows), AT_ONCE))
