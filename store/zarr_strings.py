"""Texts as the chunk that zarr's `vlen-utf8` codec writes: their number, then each one's length before it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from structure.store.arrow_arrays import string_bytes
from structure.store.chunk import CRC_BYTES, crc32c

HEAD = 4
"""Bytes of a little-endian number."""


def string_chunk(values: pa.Array) -> bytes | None:
    """The chunk of n texts with its CRC-32C; None where all are empty, which zarr does not write.

    The same bytes as zarr's, without a Python object a text: a million take a tenth of its memory.
    """
    offsets, text = string_bytes(values)
    if not len(text):
        return None
    lengths = np.diff(offsets)
    chunk = np.empty(HEAD + HEAD * len(values) + len(text) + CRC_BYTES, dtype=np.uint8)
    is_text = np.ones(len(chunk), dtype=bool)
    is_text[:HEAD] = is_text[-CRC_BYTES:] = False
    heads = HEAD + offsets[:-1] + HEAD * np.arange(len(values))
    for byte in range(HEAD):
        chunk[byte] = len(values) >> 8 * byte & 255
        chunk[heads + byte] = lengths >> 8 * byte & 255
        is_text[heads + byte] = False
    chunk[is_text] = text
    checksum = crc32c(memoryview(chunk.data)[:-CRC_BYTES])
    chunk[-CRC_BYTES:] = np.frombuffer(checksum.to_bytes(CRC_BYTES, "little"), dtype=np.uint8)
    return chunk.tobytes()
