"""Arrays of `.npz` and `.safetensors` files where they lie on the disk: files may be larger than the memory."""

from __future__ import annotations

import json
import math
import mmap
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

LOCAL_HEADER = struct.Struct("<26xHH")
"""The fixed part of what precedes a file in a zip archive; the numbers are the lengths of its two variable parts."""

SAFETENSORS_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
"""Those that NumPy has too."""

CHECKED_BYTES = 1 << 20


def npz_array(archive: Any, name: str, file: BinaryIO) -> np.ndarray:
    """An array of a `.npz`, which `np.load` opened as `archive` and which `file` is; mapped where it is not compressed,
    after its checksum was found right. Raises as `archive[name]` does."""
    there = _stored_array(archive.zip, name, file)
    return np.asarray(archive[name]) if there is None else there


def _stored_array(archive: zipfile.ZipFile, name: str, file: BinaryIO) -> np.ndarray | None:
    """The array of a member that is not compressed; None for any other, of which `np.load` says what it is."""
    member = f"{name}.npy"
    if member not in archive.namelist() or archive.getinfo(member).compress_type != zipfile.ZIP_STORED:
        return None
    info = archive.getinfo(member)
    file.seek(info.header_offset)
    file.seek(sum(LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))), 1)
    begin = file.tell()
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            return None
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(file)
    except ValueError:
        return None
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or not size or file.tell() + size != begin + info.file_size:
        return None
    with archive.open(info) as content:
        while content.read(CHECKED_BYTES):  # the last one compares the checksum
            pass
    return _mapped(file, file.tell(), shape, dtype, order="F" if is_fortran else "C")


def safetensors_arrays(path: Path) -> dict[str, np.ndarray | None]:
    """Each tensor of a `.safetensors` by name, mapped; None for a type that NumPy lacks (bfloat16, floats of 8 bits).

    Raises as `safe_open` does, which checks that every tensor lies within the file.
    """
    from safetensors import safe_open

    found: dict[str, np.ndarray | None] = {}
    with safe_open(path, framework="np") as checked, path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
        for name in checked.keys():  # noqa: SIM118 (no mapping)
            dtype = SAFETENSORS_TYPES.get(header[name]["dtype"])
            place = file.seek(8 + length) + header[name]["data_offsets"][0]
            shape = tuple(header[name]["shape"])
            found[name] = None if dtype is None else _mapped(file, place, shape, np.dtype(dtype))
    return found


def _mapped(file: BinaryIO, offset: int, shape: tuple[int, ...], dtype: np.dtype, *, order: Any = "C") -> np.ndarray:
    content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.ndarray(shape, dtype, buffer=content, offset=offset, order=order)
