"""Bytes to an image, safely: whatever the bytes are, the answer is an RGB image or a `BadSampleError`."""

from __future__ import annotations

from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from structure.store.errors import BadSampleError
from structure.store.quiet import without_warnings

MAX_PIXELS = 178_956_970
"""Images with more pixels are refused (Pillow's own limit against decompression bombs: 0.5 GB as RGB)."""

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, *, item: str, source: str = "") -> Image.Image:
    """The image in `data` as an RGB image; `source` (a file, a tar member) is named in the reason of an error.

    - Turned upright by its EXIF orientation, as people see it; damaged EXIF counts as none.
    - Transparency (alpha, palette, colour key) is laid on white, so that what lies under clear pixels does not show.
    - 16-bit grey keeps its high byte, as Pillow does for 16-bit colour; CMYK, grey and palettes become RGB.
    - Of an animation the first frame is taken.

    Raises `BadSampleError` for empty or truncated data, for anything that is not an image, for pixels without an
    agreed range (floats, more than 16 bits) and for more than `MAX_PIXELS` pixels.
    """
    prefix = f"{source}: " if source else ""
    if not data:
        raise BadSampleError(item, f"{prefix}the file is empty (0 bytes)")
    try:
        # What Pillow warns of (large images, odd EXIF) is decided here, or is of no use to the reader of a log.
        with without_warnings(module=r"PIL\."):
            return _decode(data)
    except _RefusalError as error:
        reason = str(error)
    except UnidentifiedImageError:
        reason = (
            f"not an image that can be read ({', '.join(_FORMATS)}): {len(data)} bytes that begin with {data[:12]!r}"
        )
    except Image.DecompressionBombError as error:
        reason = f"too large to be decoded safely. {error}"
    except Exception as error:  # a decoder that is fed damaged bytes may raise anything
        reason = f"the image is damaged or truncated ({len(data)} bytes): {error or type(error).__name__}"
    raise BadSampleError(item, prefix + reason)


def size(data: bytes) -> tuple[int, int] | None:
    """`(width, height)` of the image in `data` when upright, read from its header alone; None where it has none."""
    try:
        with without_warnings(module=r"PIL\."), Image.open(BytesIO(data), formats=_formats()) as image:
            width, height = image.size
            return (height, width) if _orientation(image) >= 5 else (width, height)
    except Exception:  # as above; `decode` says why
        return None


def is_plain(data: bytes) -> str | None:
    """`"jpg"`, `"png"` or `"webp"` where any reader gives the same pixels as `decode`, else None.

    That is: 8-bit grey or RGB, no transparency, no EXIF orientation, one frame.
    """
    endings = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
    try:
        with without_warnings(module=r"PIL\."), Image.open(BytesIO(data), formats=tuple(endings)) as image:
            plain = image.mode in ("L", "RGB") and not image.has_transparency_data
            single = getattr(image, "n_frames", 1) == 1
            return endings[image.format or ""] if plain and single and _orientation(image) == 1 else None
    except Exception:  # as above
        return None


class _RefusalError(Exception):
    """A readable image that has no honest RGB form."""


@cache
def _formats() -> tuple[str, ...]:
    """The formats that this build of Pillow has; all others (EPS runs a program, many are obscure) stay closed."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _decode(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data), formats=_formats()) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _RefusalError(
                f"too large to be decoded safely: {width} x {height} = {width * height} pixels, at most {MAX_PIXELS} "
                "are decoded. Scale it down"
            )
        if not width * height:
            raise _RefusalError(f"an image of {width} x {height} has no pixel")
        image.load()
        return _upright(image)


def as_rgb(image: Image.Image, *, item: str) -> Image.Image:
    """An image that Pillow holds, turned upright and made RGB as `decode` does it. Raises `BadSampleError` for pixels
    without an agreed range."""
    try:
        return _upright(image)
    except _RefusalError as error:
        raise BadSampleError(item, str(error)) from None


def _upright(image: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(_orientation(image))
    return _rgb(image.transpose(turn) if turn is not None else image)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF says nothing about the pixels
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _grey(np.asarray(image))
    if image.mode == "I":
        values = np.asarray(image)
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise _RefusalError(
                f"its grey values run from {low} to {high}, beyond 16 bits (0 to 65535), and have no agreed range. "
                "Convert it to 8 or 16 bits"
            )
        return _grey(values)
    if image.mode == "F":
        raise _RefusalError(
            "its pixels are floating-point numbers, which have no agreed range. Convert it to 8 or 16 bits"
        )
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _grey(values: np.ndarray) -> Image.Image:
    """16-bit grey `(height, width)` to RGB by its high byte."""
    return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
