"""netCDF-3 files, the classic format: a header of names and sizes, then each variable's numbers, big-endian.

The format is that of the NetCDF Users Guide, "File Format Specifications". The bytes are those that SciPy writes, whose
import takes longer than a ranking's charts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

DIMENSION, VARIABLE, ATTRIBUTE, NOTHING = (tag.to_bytes(4) for tag in (10, 11, 12, 0))
KINDS = {"S1": 2, "i4": 4, "f4": 5, "f8": 6}
"""Types of numbers by their name in NumPy: bytes of text, int32, float32, float64."""

Attribute = str | int | float | np.floating


@dataclass(frozen=True)
class NetcdfVariable:
    """Bytes (S1), int32 or float64 `values` over named `dimensions`; attributes are text or numbers, of which Python's
    own are written as int32 and float32."""

    name: str
    dimensions: tuple[str, ...]
    values: np.ndarray
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


def netcdf_file(variables: Sequence[NetcdfVariable]) -> bytes:
    """The file of these variables; those with the largest shape come first."""
    sizes = {name: size for one in variables for name, size in zip(one.dimensions, one.values.shape, strict=True)}
    dimensions = list(sizes)
    ordered = sorted(variables, key=lambda one: one.values.shape, reverse=True)
    data = [_padded(_big_endian(one.values).tobytes()) for one in ordered]
    header = b"CDF\x01" + _int(0)  # version 1, no records
    header += DIMENSION + _int(len(sizes)) + b"".join(_text(name) + _int(size) for name, size in sizes.items())
    header += NOTHING + _int(0) + VARIABLE + _int(len(ordered))
    described = [
        _text(one.name)
        + _int(len(one.dimensions), *(dimensions.index(name) for name in one.dimensions))
        + _attributes(one.attributes)
        + _int(KINDS[one.values.dtype.str[1:]], len(held))
        for one, held in zip(ordered, data, strict=True)
    ]
    begin = len(header) + sum(len(each) + 4 for each in described)  # each is followed by where its numbers begin
    for each, held in zip(described, data, strict=True):
        header += each + _int(begin)
        begin += len(held)
    return header + b"".join(data)


def _attributes(attributes: Mapping[str, Attribute]) -> bytes:
    if not attributes:
        return NOTHING + _int(0)
    return ATTRIBUTE + _int(len(attributes)) + b"".join(_text(k) + _value(v) for k, v in attributes.items())


def _value(value: Attribute) -> bytes:
    if isinstance(value, str):
        return _int(KINDS["S1"]) + _text(value)
    own = None if isinstance(value, np.floating) else "i4" if isinstance(value, int) else "f4"
    number = np.asarray(value, dtype=own)
    return _int(KINDS[number.dtype.str[1:]], 1) + _big_endian(number).tobytes()


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _int(len(encoded)) + _padded(encoded)


def _int(*numbers: int) -> bytes:
    return np.array(numbers, dtype=">i4").tobytes()


def _big_endian(values: np.ndarray) -> np.ndarray:
    return values.astype(values.dtype.newbyteorder(">"))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
