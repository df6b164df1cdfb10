"""What may be stored: finite numbers that the stored dtype can hold. Anything else is an error that names its place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from structure.store.chunk import as_bytes
from structure.store.errors import StructureError

FLOAT16_MAX = 65504.0
EXPONENT = np.uint16(0x7C00)
_BLOCK = 1 << 17


class Float16OverflowError(StructureError):
    """A value that float16 cannot hold; `column` says where, so that `--dtype auto` can widen it."""

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message)
        self.column = column


def cast_to_stored(
    values: np.ndarray, dtype: str, *, key: str, column: str, what: object, sample: Callable[[int], str]
) -> np.ndarray:
    """`values` (n, width) in the stored dtype, C-contiguous; no copy where they are so already.

    Raises StructureError for a NaN or an infinity and Float16OverflowError for a value beyond float16. The message
    names the feature set `key`, the layer, `sample(row)`, and `what` was not saved.
    """
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(values, dtype=dtype)
    if all_finite(stored):
        return stored
    row, place = (int(i) for i in np.argwhere(~np.isfinite(values) | (np.abs(values) > FLOAT16_MAX))[0])
    where = f"layer {column}, sample {sample(row)} (feature {place})"
    if not np.isfinite(values[row, place]):
        raise StructureError(
            f"{key}: the encoder gave {values[row, place]} in {where}. Nothing of {what} was saved. "
            "Try --amp off, or leave this layer out."
        )
    raise Float16OverflowError(
        f"{key}: {values[row, place]:.6g} in {where} is beyond float16's {FLOAT16_MAX:.0f}. "
        "Nothing was clipped. Pass --dtype auto to keep this layer in float32, or --dtype fp32.",
        column,
    )


def all_finite(values: np.ndarray) -> bool:
    """isfinite().all(), on float16 through its exponent bits: NumPy's own float16 loop is ten times slower."""
    if values.dtype != np.float16:
        return bool(np.isfinite(values).all())
    bits = np.frombuffer(as_bytes(values), dtype=np.uint16)
    blocks = (bits[start : start + _BLOCK] for start in range(0, len(bits), _BLOCK))  # small enough for the cache
    return all((block & EXPONENT).max() != EXPONENT for block in blocks)
