"""Every band of a file as it stands there: TIFF of any number of bands and depth, and PNG of 16-bit colour.

Pillow keeps the high byte of 16-bit colour and reads four bands at most. A TIFF is therefore shown to it as one wide
image of bytes, which it unpacks (strips, tiles, LZW, deflate, ...); from these bytes the bands are put together here.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from structure.pipeline.datasets.tiff_facts import BITS, HEIGHT, PLANAR, SAMPLES, WIDTH, tiff_directory

_COMPRESSION, _PREDICTOR, _FORMAT = 259, 317, 339
_STRIPS, _TILES = (273, 279, 278), (324, 325, 323)
_TILE_WIDTH = 322
_GREY_ALPHA = 4
"""PNG's number for grey with transparency."""
_UNPACKED = {1: "raw", 5: "LZW", 8: "deflate", 32773: "PackBits", 32946: "deflate", 34925: "LZMA", 50000: "Zstandard"}
"""Compressions that keep every byte."""


def read_bands(data: bytes, page: int = 1) -> np.ndarray | None:
    """`(height, width, bands)` values as they are in the file, in native byte order; None where they cannot be read so
    (a lossy compression, bits that are no whole bytes, bands of several kinds)."""
    if data.startswith(b"\x89PNG"):
        return _png_bands(data)
    directory = tiff_directory(data, page)
    if directory is None:
        return None
    order = "<" if data.startswith(b"II") else ">"
    bands, bits = int(directory.get(SAMPLES, 1)), set(directory.get(BITS, (1,)))
    kinds, predictor = set(directory.get(_FORMAT, (1,))), int(directory.get(_PREDICTOR, 1))
    if len(bits) != 1 or len(kinds) != 1 or bits - {8, 16, 32, 64} or predictor not in (1, 2):
        return None
    if directory.get(_COMPRESSION, 1) not in _UNPACKED:
        return None
    kind = {1: "u", 2: "i", 3: "f"}.get(kinds.pop())
    if kind is None:
        return None
    dtype = np.dtype(f"{order}{kind}{bits.pop() // 8}")
    tiled = _TILE_WIDTH in directory
    starts, counts, _ = _TILES if tiled else _STRIPS
    groups = [(list(directory[starts]), list(directory[counts]), bands)]
    if directory.get(PLANAR, 1) == 2:
        each = len(directory[starts]) // bands
        cuts = [slice(band * each, (band + 1) * each) for band in range(bands)]
        groups = [(list(directory[starts][cut]), list(directory[counts][cut]), 1) for cut in cuts]
    planes = [_plane(data, directory, order, dtype, group) for group in groups]
    values = np.concatenate(planes, axis=2)
    if predictor == 2:
        values = _summed(values, int(directory[_TILE_WIDTH]) if tiled else values.shape[1])
    return values.astype(dtype.newbyteorder("="), copy=False)


def _plane(
    data: bytes, directory: Any, order: str, dtype: np.dtype, group: tuple[list[int], list[int], int]
) -> np.ndarray:
    """`(height, width, bands)` of the strips or tiles of `group`: where, how many bytes, interleaved bands."""
    offsets, sizes, bands = group
    height, width, wide = int(directory[HEIGHT]), int(directory[WIDTH]), bands * dtype.itemsize
    tiled = _TILE_WIDTH in directory
    starts, counts, rows = _TILES if tiled else _STRIPS
    fields = {WIDTH: [width * wide], HEIGHT: [height], BITS: [8], _COMPRESSION: [int(directory.get(_COMPRESSION, 1))]}
    fields |= {262: [1], SAMPLES: [1], starts: offsets, counts: sizes, rows: [int(directory.get(rows, height))]}
    if tiled:
        fields[_TILE_WIDTH] = [int(directory[_TILE_WIDTH]) * wide]
    with Image.open(BytesIO(_with_directory(data, order, fields)), formats=("TIFF",)) as image:
        flat = np.asarray(image)
    return np.ascontiguousarray(flat).view(dtype).reshape(height, width, bands)


def _with_directory(data: bytes, order: str, fields: dict[int, list[int]]) -> bytes:
    """The file with another first directory behind it; the pixels stay where they are."""
    start = len(data) + len(data) % 2
    after = start + 2 + 12 * len(fields) + 4
    entries, lists = b"", b""
    for tag, numbers in sorted(fields.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            packed, lists = struct.pack(f"{order}I", after + len(lists)), lists + packed
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + packed
    head = data[:2] + struct.pack(f"{order}HI", 42, start)  # of a BigTIFF too: the pixels lie behind its longer header
    body = struct.pack(f"{order}H", len(fields)) + entries + b"\0" * 4 + lists
    return head + data[8:] + b"\0" * (start - len(data)) + body


def _summed(values: np.ndarray, every: int) -> np.ndarray:
    """Undo TIFF's predictor 2: each value is kept as its difference from the one left of it, anew in every tile."""
    native = values.view(np.dtype(f"{values.dtype.str[0]}u{values.dtype.itemsize}"))
    parts = [
        np.cumsum(native[:, left : left + every], axis=1, dtype=native.dtype.newbyteorder("="))
        for left in range(0, values.shape[1], every)
    ]
    return np.concatenate(parts, axis=1).view(values.dtype.newbyteorder("="))


def _png_bands(data: bytes) -> np.ndarray | None:
    """The two bytes of each value, unpacked one after the other: in the order of a PNG the first is the high one, and
    Pillow takes the second where it is told that the file is the other way round. Grey with transparency, which it
    unpacks in one order only, is shown to it as four bytes a pixel."""
    if data[25] == _GREY_ALPHA:
        grey = _png_as(data, "RGBA").astype(np.uint16)
        return grey[:, :, ::2] << 8 | grey[:, :, 1::2]
    with Image.open(BytesIO(data), formats=("PNG",)) as image:
        mode = image.mode
    if mode not in ("RGB", "RGBA"):
        return None
    high, low = (_png_as(data, f"{mode};16{order}").astype(np.uint16) for order in ("B", "L"))
    return np.asarray(high << 8 | low)


def _png_as(data: bytes, unpacked: str) -> np.ndarray:
    """`(height, width, bands)` uint8 of a PNG whose rows Pillow unpacks as it is told."""
    with Image.open(BytesIO(data), formats=("PNG",)) as image:
        tiles: list[Any] = image.tile  # type: ignore[attr-defined]  # of an image file, not of any image
        image.tile = [tile._replace(args=unpacked) for tile in tiles]  # type: ignore[attr-defined]
        return np.asarray(image)
