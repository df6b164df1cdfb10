"""One shard of one layer as the bytes of a zarr v3 chunk: little-endian rows, optionally zstd, then a CRC-32C.

A feature set keeps one chunk per shard, so writing a shard is writing whole files. The bytes are what zarr's own
codecs (`bytes`, `zstd`, `crc32c`) produce, checked in the tests; going through the file directly reads a layer at the
speed of the disk, and plain zarr opens the same files.
"""

from __future__ import annotations

import sys

import crc32c as _crc32c
import numpy as np

from structure.store import zstd
from structure.store.errors import DamageError
from structure.store.files import PIECE, Buffer, Files

CRC_BYTES = 4
PAGE = 4096


def crc32c(data: memoryview, before: int = 0) -> int:
    """CRC-32C (Castagnoli) of a byte buffer, continued from `before`, the CRC-32C of what comes before it."""
    return int(_crc32c.crc32c(data, before))


def page_aligned(shape: tuple[int, ...], dtype: str | np.dtype) -> np.ndarray:
    """`np.empty` that begins at a page: Linux copies a file from its cache to there several times faster than to where
    large blocks of malloc begin, 16 bytes behind one (19 and 2.6 GB/s on an AMD EPYC)."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    space = np.empty(size + PAGE, dtype=np.uint8)
    begin = -space.ctypes.data % PAGE
    return space[begin : begin + size].view(dtype).reshape(shape)


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
        data = zstd.packed(data, level=level)
    checksum = crc32c(data)
    files.write(key, data, checksum.to_bytes(CRC_BYTES, "little"))
    return f"{checksum:08x}"


def read_chunk(
    files: Files,
    key: str,
    into: np.ndarray,
    *,
    compressed: bool,
    expected: str | None,
    before: int = 0,
    after: int = 0,
) -> None:
    """Read the chunk `key` and check it; the C-contiguous array `into` gets it without the first `before` and the last
    `after` bytes.

    Raises DamageError, naming the file, where it is missing, has another length, or another checksum than `expected`
    (hex, from the completion marker; None: not asked for).
    """
    data = memoryview(into.reshape(-1).view(np.uint8).data)
    stored = bytearray(CRC_BYTES)
    raw = b""
    checksum = 0

    def check(piece: memoryview) -> None:
        nonlocal checksum
        checksum = crc32c(piece, checksum)

    try:
        if compressed:
            raw = files.read(key)
            stored[:] = raw[-CRC_BYTES:]
            check(memoryview(raw)[:-CRC_BYTES])
        else:
            buffers = [*_nowhere(before), data, *_nowhere(after), memoryview(stored)]
            seen = None if expected is None else check
            _require_size(key, files.read_into(key, *buffers, seen=seen), before + len(data) + after)
    except FileNotFoundError:
        raise DamageError(f"{key} is missing.") from None
    if expected is not None:
        _require_checksum(key, checksum, stored, expected)
    if compressed:
        try:
            whole = zstd.unpacked(memoryview(raw)[:-CRC_BYTES])
            data[:] = memoryview(whole)[before : before + len(data)]
        except (RuntimeError, ValueError) as error:
            raise DamageError(f"{key} does not unpack: {error}.") from None
    if sys.byteorder == "big":
        into.byteswap(inplace=True)


def view_chunk(files: Files, key: str, start: int, stop: int, *, size: int, expected: str | None) -> memoryview:
    """Bytes `[start, stop)` of the uncompressed chunk `key`, which has `size` bytes, where they lie in the file.

    Raises DamageError as `read_chunk` does; all bytes are checked, unless `expected` is None.
    """
    try:
        if expected is not None:
            whole, found = files.view(key, 0, size + CRC_BYTES)
            _require_size(key, found, size)
            _require_checksum(key, crc32c(whole[:size]), whole[size:], expected)
        data, found = files.view(key, start, stop)
    except FileNotFoundError:
        raise DamageError(f"{key} is missing.") from None
    _require_size(key, found, size)
    return data


def _require_size(key: str, found: int, size: int) -> None:
    if found != size + CRC_BYTES:
        raise DamageError(f"{key} has {found:,} bytes, {size + CRC_BYTES:,} were written.")


def _require_checksum(key: str, checksum: int, stored: Buffer, expected: str) -> None:
    if checksum != int.from_bytes(stored, "little") or f"{checksum:08x}" != expected:
        raise DamageError(f"{key} has checksum {checksum:08x}, {expected} was written: its bytes have changed.")


def _nowhere(size: int) -> list[memoryview]:
    """Buffers of `size` bytes in all for what is read and not held: one piece of memory, again and again."""
    if not size:
        return []
    scratch = memoryview(bytearray(min(size, PIECE)))
    return [*[scratch] * (size // len(scratch)), *([scratch[:rest]] if (rest := size % len(scratch)) else [])]
