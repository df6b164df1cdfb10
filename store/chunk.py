"""One shard of one layer as the bytes of a zarr v3 chunk: little-endian rows, optionally zstd, then a CRC-32C.

A feature set keeps one chunk per shard, so writing a shard is writing whole files. The bytes are what zarr's own
codecs (`bytes`, `zstd`, `crc32c`) produce, checked in the tests; going through the file directly reads a layer at the
speed of the disk, and plain zarr opens the same files.
"""

from __future__ import annotations

import sys

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd

from structure.store.errors import DamageError
from structure.store.files import Files

_BLOCK = 1 << 20  # the checksum copies its input: small blocks stay in the cache
CRC_BYTES = 4


def crc32c(data: memoryview) -> int:
    """CRC-32C (Castagnoli) of a byte buffer."""
    value = 0
    for start in range(0, len(data), _BLOCK):
        value = google_crc32c.extend(value, bytes(data[start : start + _BLOCK]))
    return int(value)


def as_bytes(values: np.ndarray) -> memoryview:
    """The C-order little-endian bytes of an array, without a copy where it is already so."""
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return memoryview(little.reshape(-1).view(np.uint8).data)


def write_chunk(files: Files, key: str, values: np.ndarray, *, rows: int, level: int | None) -> str:
    """Write `values` (n <= rows, width) as the chunk `key`; the part beyond n is zero. Returns the CRC-32C as hex.

    `level` is zstd's compression level, None for no compression.
    """
    if len(values) < rows:
        padded = np.zeros((rows, *values.shape[1:]), dtype=values.dtype)
        padded[: len(values)] = values
        values = padded
    data = as_bytes(values)
    if level is not None:
        data = memoryview(Zstd(level=level).encode(data))
    checksum = crc32c(data)
    files.write(key, data, checksum.to_bytes(CRC_BYTES, "little"))
    return f"{checksum:08x}"


def read_chunk(files: Files, key: str, into: np.ndarray, *, compressed: bool, expected: str) -> None:
    """Read the chunk `key` into the C-contiguous array `into` and check it.

    Raises DamageError, naming the file, where it is missing, has another length, or another checksum than `expected`
    (hex, from the done mark).
    """
    stored = bytearray(CRC_BYTES)
    try:
        if compressed:
            raw = files.read(key)
            data, stored[:] = memoryview(raw)[:-CRC_BYTES], raw[-CRC_BYTES:]
        else:
            data = memoryview(into.reshape(-1).view(np.uint8).data)
            size = files.read_into(key, data, memoryview(stored))
            if size != len(data) + CRC_BYTES:
                raise DamageError(f"{key} has {size:,} bytes, {len(data) + CRC_BYTES:,} were written.")
    except FileNotFoundError:
        raise DamageError(f"{key} is missing.") from None
    checksum = crc32c(data)
    if checksum != int.from_bytes(stored, "little") or f"{checksum:08x}" != expected:
        raise DamageError(f"{key} has checksum {checksum:08x}, {expected} was written: its bytes have changed.")
    if compressed:
        Zstd().decode(data, memoryview(into.reshape(-1).view(np.uint8).data))
    if sys.byteorder == "big":
        into.byteswap(inplace=True)
