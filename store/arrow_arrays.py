"""Arrow arrays from NumPy's and text. `pa.array` and `pa.scalar` import pandas, for which every command would wait, and
`pyarrow.compute` makes hundreds of functions: it is imported where one of them is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from structure.store.errors import StructureError

MOST_BYTES = 2**31 - 1
"""Bytes of all texts of one array together: their places are signed numbers of 32 bits."""

Ids: TypeAlias = Sequence[str] | pa.Array
"""Texts as a list or as Arrow's, which take a tenth of its memory."""


def integers(numbers: np.ndarray) -> pa.Array:
    """(n,) whole numbers as int64."""
    values = np.ascontiguousarray(numbers, dtype=np.int64)
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])


def strings(values: Ids) -> pa.Array:
    """n texts; an Arrow array as it is. Raises StructureError for more than `MOST_BYTES` of them."""
    if isinstance(values, pa.Array):
        return values
    text = "".join(values)
    data = text.encode()
    _require_room(len(data), len(values))
    lengths = map(len, values) if text.isascii() else (len(value.encode()) for value in values)
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum(np.fromiter(lengths, dtype=np.int32, count=len(values)), out=offsets[1:])
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(data))


def string(value: str) -> pa.Scalar:
    """One text, to compare with or to join."""
    return strings([value])[0]


def numbered(count: int) -> pa.Array:
    """The texts `0`, `1`, ... of that many numbers. Raises StructureError as `strings` does."""
    _require_room(_digits(count), count)
    return integers(np.arange(count)).cast(pa.string())


def joined_chunks(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column of texts as one array. Raises StructureError as `strings` does."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    _require_room(sum(_text_bytes(chunk) for chunk in column.chunks), len(column))
    return column.combine_chunks()


def equal_to(values: pa.Array, text: str) -> pa.Array:
    """(n,) uint8: 1 where it is that text."""
    from pyarrow import compute

    return compute.equal(values, string(text)).cast(pa.uint8())


def joined(*parts: pa.Array | str, by: str = "") -> pa.Array:
    """The texts of each place one after the other, with `by` between them; a null is an empty one."""
    from pyarrow import compute

    texts = [string(part) if isinstance(part, str) else part for part in parts]
    return compute.binary_join_element_wise(*texts, string(by), null_handling="replace", null_replacement="")


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


def _require_room(size: int, count: int) -> None:
    if size > MOST_BYTES:
        raise StructureError(
            f"The ids of {count:,} rows take {size:,} bytes; one sample index holds up to {MOST_BYTES:,}. Beyond, rows "
            "would be given the ids of others. Shorten the ids, or split the data into several --dataset names."
        )


def _digits(count: int) -> int:
    """Digits of the numbers below `count`, together."""
    more: list[int] = [count - 10**power for power in range(1, len(str(count)))]
    return count + sum(size for size in more if size > 0)


def _text_bytes(chunk: pa.Array) -> int:
    return int(string_bytes(chunk)[0][-1]) if len(chunk) else 0
