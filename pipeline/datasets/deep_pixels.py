"""Pixels of more than 8 bits: which files have them, their values, and how they become 0 to 255."""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

from structure.pipeline.datasets.pixel_meaning import PixelMeaning
from structure.pipeline.datasets.tiff_facts import TiffFacts

_PNG = b"\x89PNG\r\n\x1a\n"
_PNM = re.compile(rb"P[2356]\s+(?:#[^\n]*\n\s*)*\d+\s+(?:#[^\n]*\n\s*)*\d+\s+(?:#[^\n]*\n\s*)*(\d+)\s")
_JPEG2000 = re.compile(rb"\xff\x4f\xff\x51.{38}(.)", re.DOTALL)


class RefusalError(Exception):
    """A readable image that has no honest 8-bit form; `remedy` are options that would give it one."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.remedy = remedy


def depth(data: bytes, tiff: TiffFacts | None = None) -> int:
    """Bits of a pixel's value that the file states; 8 where it states fewer, or none. A PNM file of any other maximum
    than 65,535 says itself what is white, and counts as 8."""
    if tiff is not None:
        return max(8, tiff.bits)
    if data.startswith(_PNG):
        return max(8, data[24]) if len(data) > 24 else 8
    if found := _PNM.match(data[:512]):
        return 16 if int(found[1]) == 65535 else 8
    if found := _JPEG2000.search(data[:4096]):
        return max(8, (found[1][0] & 0x7F) + 1)
    return 8


def is_grey(image: Image.Image) -> bool:
    """Whether Pillow holds the values themselves (16-bit or 32-bit grey, floats), not their high bytes."""
    return image.mode.startswith("I") or image.mode == "F"


def raw_values(image: Image.Image, bits: int) -> np.ndarray:
    """`(height, width)` values as they are in the file."""
    values = np.asarray(image)
    # Pillow moves the values of a JPEG 2000 file up until they fill 16 bits.
    return values >> (16 - bits) if image.format == "JPEG2000" and bits < 16 else values


def to_bytes(values: np.ndarray, meaning: PixelMeaning) -> np.ndarray:
    """uint8 of the same shape: `bits` keep the highest 8 of that many; a window's ends become 0 and 255, linearly,
    rounded, what is beyond them is cut. Raises `RefusalError` for values that are no numbers or beyond the bits."""
    low, high = value_range(values)
    if meaning.bits is not None:
        if low < 0 or high >= 1 << meaning.bits or values.dtype.kind == "f":
            raise RefusalError(
                f"its values run from {low:g} to {high:g}, and bits={meaning.bits} are 0 to {(1 << meaning.bits) - 1}",
                advice(values),
            )
        return (values >> (meaning.bits - 8)).astype(np.uint8)
    black, white = meaning.window or np.percentile(values, meaning.percentiles or (1, 99))
    if black == white:
        return np.zeros(values.shape, np.uint8)
    scaled = (values.astype(np.float64) - black) * (255 / (white - black))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def value_range(values: np.ndarray) -> tuple[float, float]:
    """Least and greatest value. Raises `RefusalError` where one is no number."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise RefusalError(
            f"{np.count_nonzero(~np.isfinite(values)):,} of its {values.size:,} pixels are no numbers (NaN or infinite)"
        )
    return low, high


def unclear(values: np.ndarray) -> RefusalError:
    """The refusal of grey values of which nobody has said what they mean."""
    low, high = value_range(values)
    if values.dtype.kind == "f":
        reason = f"its pixels are floating-point numbers from {low:g} to {high:g}, which have no agreed range"
    elif low < 0 or high > 65535:
        reason = f"its values run from {low:g} to {high:g}, beyond 16 bits (0 to 65535), and have no agreed range"
    else:
        reason = f"its values run from {low:g} to {high:g} of 16 bits, which have no agreed range"
    return RefusalError(reason, advice(values))


def advice(values: np.ndarray) -> str:
    """The options that fit these values, as they are typed."""
    low, high = value_range(values)
    bits = next((bits for bits in (10, 12, 14, 16) if low >= 0 and high < 1 << bits), None)
    also = f", or ?bits={bits}" if bits and values.dtype.kind != "f" else ""
    ends = f"{low:.6g},{high:.6g}" if low < high else f"{low:.6g},{low + 1:.6g}"
    return (
        f"Say which are black and white: ?window={ends}, or by each image's own percentiles: ?window=percentile{also}"
    )
