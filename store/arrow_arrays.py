"""Arrow arrays from NumPy's and text. `pa.array` and `pa.scalar` import pandas, for which every command would wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

Ids: TypeAlias = Sequence[str] | pa.Array
"""Texts as a list or as Arrow's, which take a tenth of its memory."""


def integers(numbers: np.ndarray) -> pa.Array:
    """(n,) whole numbers as int64."""
    values = np.ascontiguousarray(numbers, dtype=np.int64)
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])


def strings(values: Ids) -> pa.Array:
    """n texts; an Arrow array as it is."""
    if isinstance(values, pa.Array):
        return values
    text = "".join(values)
    lengths = map(len, values) if text.isascii() else (len(value.encode()) for value in values)
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum(np.fromiter(lengths, dtype=np.int32, count=len(values)), out=offsets[1:])
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(text.encode()))


def string(value: str) -> pa.Scalar:
    """One text, to compare with or to join."""
    return strings([value])[0]


def numbered(count: int) -> pa.Array:
    """The texts `0`, `1`, ... of that many numbers."""
    return integers(np.arange(count)).cast(pa.string())


def joined_chunks(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column as one array."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def string_bytes(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(n + 1,) int64 offsets and the bytes (uint8) of n texts one after another."""
    _, places, data = values.buffers()
    offsets = np.frombuffer(places, dtype=np.int32)[values.offset : values.offset + len(values) + 1].astype(np.int64)
    whole = np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, dtype=np.uint8)
    return offsets - offsets[0], whole[offsets[0] : offsets[-1]]


def numpy_of(values: Any) -> np.ndarray:
    """Numbers without gaps as NumPy's, an array or a column of several."""
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    if not chunks:
        return np.from_dlpack(pa.nulls(0, values.type))
    parts = [np.from_dlpack(chunk) for chunk in chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
