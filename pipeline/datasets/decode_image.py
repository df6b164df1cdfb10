"""Bytes to an image, safely: whatever the bytes are, the answer is an RGB image or a `BadSampleError`."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import PurePath
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from structure.pipeline.datasets.decode_video import VIDEO_SUFFIXES, decode_frames, is_video
from structure.pipeline.datasets.deep_bands import read_bands
from structure.pipeline.datasets.deep_pixels import RefusalError, depth, is_grey, raw_values, to_bytes, unclear
from structure.pipeline.datasets.pixel_meaning import AS_THE_FILE_SAYS, PixelMeaning, UnclearPixelsError
from structure.pipeline.datasets.tiff_facts import TiffFacts, tiff_facts
from structure.store.errors import BadSampleError
from structure.store.without_warnings import without_warnings

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


def decode(data: bytes, *, item: str, source: str = "", pixels: PixelMeaning = AS_THE_FILE_SAYS) -> Image.Image:
    """The image in `data` as an RGB image; `source` (a file, a tar member) is named in the reason of an error.

    - Turned upright by its EXIF orientation, as people see it; damaged EXIF counts as none.
    - Transparency (alpha, palette, colour key) is laid on white, so that what lies under clear pixels does not show.
    - Values beyond 8 bits become 0 to 255 as `pixels` says. CMYK, grey and palettes become RGB.
    - Of an animation the first frame is taken, of a video the middle one.

    Raises `BadSampleError` for empty or truncated data, for anything that is not an image and for more than
    `MAX_PIXELS` pixels; `UnclearPixelsError`, which is one, where `pixels` does not say what a file leaves open: the
    range of values beyond 8 bits, bands that are neither colour nor transparency, which page of a TIFF.
    """
    prefix = f"{source}: " if source else ""
    if not data:
        raise BadSampleError(item, f"{prefix}the file is empty (0 bytes)")
    if is_video(data) or PurePath(source).suffix.lower() in VIDEO_SUFFIXES:
        return next(decode_frames(data, 1, item=item, source=source))
    try:
        # What Pillow warns of (large images, odd EXIF) is decided here, or is of no use to the reader of a log.
        with without_warnings(module=r"PIL\."):
            return _decode(data, pixels)
    except RefusalError as error:
        if error.remedy:
            raise UnclearPixelsError(item, prefix + str(error), error.remedy) from None
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


def decode_alone(data: bytes, *, item: str, source: str = "") -> Image.Image:
    """As `decode`, for an image that belongs to no data set: no option can say what its file leaves open, so that the
    `BadSampleError` says how to make it clear."""
    try:
        return decode(data, item=item, source=source)
    except UnclearPixelsError as error:
        raise BadSampleError(item, f"{error.fact}. Save it as 8-bit RGB, such as PNG, of one page") from None


def unclear_pixels(data: bytes, *, item: str, source: str, pixels: PixelMeaning) -> UnclearPixelsError | None:
    """What `decode` would say of pixels whose meaning `pixels` leaves open; None for all other data. Files of 8-bit
    colour or grey are told by their first bytes and not decoded."""
    if not _may_be_unclear(data):
        return None
    try:
        decode(data, item=item, source=source, pixels=pixels)
    except UnclearPixelsError as error:
        return error
    except BadSampleError:
        pass
    return None


def _may_be_unclear(data: bytes) -> bool:
    tiff = tiff_facts(data)
    if tiff is not None:
        return tiff.bits > 8 or tiff.more_bands > 0 or tiff.pages > 1 or tiff.is_signed
    transparent_png = data[:4] == b"\x89PNG" and len(data) > 25 and data[25] in (4, 6)
    return depth(data) > 8 or transparent_png


def deep_values(data: bytes, pixels: PixelMeaning) -> np.ndarray | None:
    """The values of an image of more than 8 bits as they are in the file, `(height, width)` of grey, `(height, width,
    bands)` of the bands that are shown; None for any other image, and where they cannot be read."""
    page = pixels.page or 1
    tiff = tiff_facts(data, page)
    try:
        with without_warnings(module=r"PIL\."):
            if tiff is not None and tiff.bands > 4:
                values = _many_bands(data, tiff, pixels)
                return values if values.dtype != np.uint8 else None
            if tiff is not None and tiff.has_plain_colours and (tiff.is_signed or not _opens(data)):
                return _bands_of(data, tiff, tuple(range(1, tiff.colours + 1)), pixels)
            with Image.open(BytesIO(data), formats=_formats()) as image:
                bits = depth(data, tiff)
                if image.width * image.height > MAX_PIXELS or (bits == 8 and not is_grey(image)):
                    return None
                image.seek(page - 1)
                image.load()
                if is_grey(image):
                    return raw_values(image, bits)
                values_of = read_bands(data, page) if image.format in ("TIFF", "PNG") else None
                return None if values_of is None else values_of[:, :, : 3 if values_of.shape[2] > 2 else 1]
    except Exception:  # `decode` says why
        return None


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
            plain = image.mode in ("L", "RGB") and not image.has_transparency_data and depth(data) == 8
            single = getattr(image, "n_frames", 1) == 1
            return endings[image.format or ""] if plain and single and _orientation(image) == 1 else None
    except Exception:  # as above
        return None


@cache
def _formats() -> tuple[str, ...]:
    """The formats that this build of Pillow has; all others (EPS runs a program, many are obscure) stay closed."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _opens(data: bytes) -> bool:
    """Whether Pillow knows such an image, whatever its pixels are."""
    try:
        Image.open(BytesIO(data), formats=_formats()).close()
    except UnidentifiedImageError:
        return False
    return True


def _decode(data: bytes, pixels: PixelMeaning) -> Image.Image:
    tiff = tiff_facts(data, pixels.page or 1)
    if tiff is not None and tiff.bands > 4 and tiff.colours < 4:
        return _of_tiff(data, tiff, pixels)
    if tiff is not None and tiff.has_plain_colours and (tiff.is_signed or not _opens(data)):
        return _of_tiff(data, tiff, pixels)  # fractions of 16 or 64 bits, or in colour: Pillow knows no such images
    with Image.open(BytesIO(data), formats=_formats()) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise RefusalError(
                f"too large to be decoded safely: {width} x {height} = {width * height} pixels, at most {MAX_PIXELS} "
                "are decoded. Scale it down"
            )
        if not width * height:
            raise RefusalError(f"an image of {width} x {height} has no pixel")
        if tiff is not None:
            _choose_page(image, tiff, pixels)
            _choose_bands(image, tiff, pixels)
        image.load()
        bits = depth(data, tiff)
        if is_grey(image):
            values = raw_values(image, bits)
            if not (image.format == "PPM" and bits == 8 and values.dtype.kind != "f"):  # a PGM says what is white
                if not pixels.has_range:
                    raise unclear(values)
                grey = to_bytes(values, pixels)
            else:
                grey = (values >> 8).astype(np.uint8)
            shown = Image.fromarray(255 - grey if tiff is not None and tiff.white_is_zero else grey)
            return _turned(shown, _orientation(image)).convert("RGB")
        if bits > 8 and image.format != "AVIF":
            return _deep_colour(data, image, bits, pixels)
        if image.mode in ("RGBA", "LA", "RGBa", "La"):
            colours = len(image.getbands()) - 1
            _require_transparency(np.asarray(image.getchannel(colours)), colours, tiff, pixels)
        return _rgb(_picked(_turned(image, _orientation(image)), pixels))


def _of_tiff(data: bytes, tiff: TiffFacts, pixels: PixelMeaning) -> Image.Image:
    """A TIFF of bands that Pillow does not read as they are: its colours, or the bands that `pixels` names."""
    if tiff.bands > 4:
        values = _many_bands(data, tiff, pixels)
    else:
        _require_page(tiff, pixels)
        _require_known_bands(tiff, pixels)
        chosen = pixels.bands if isinstance(pixels.bands, tuple) else tuple(range(1, tiff.colours + 1))
        values = _bands_of(data, tiff, chosen, pixels)
    if values.dtype == np.int8 and values.min() >= 0:
        values = values.view(np.uint8)
    shown = _of_bands(values, pixels)
    return _turned(ImageOps.invert(shown) if tiff.white_is_zero else shown, tiff.orientation)


def _many_bands(data: bytes, tiff: TiffFacts, pixels: PixelMeaning) -> np.ndarray:
    """`(height, width, 1 or 3)` of the bands that `pixels` names."""
    told = f"it has {tiff.bands} bands, of which three are to be red, green and blue"
    if not isinstance(pixels.bands, tuple):
        raise RefusalError(told, f"Say which, such as ?bands=3,2,1 (red, green, blue of the bands 1 to {tiff.bands})")
    return _bands_of(data, tiff, pixels.bands, pixels)


def _bands_of(data: bytes, tiff: TiffFacts, chosen: tuple[int, ...], pixels: PixelMeaning) -> np.ndarray:
    """`(height, width, 1 or 3)` of these bands, the first of which is 1."""
    if tiff.size[0] * tiff.size[1] > MAX_PIXELS:
        raise RefusalError(f"too large to be decoded safely: {tiff.size[0]} x {tiff.size[1]} pixels. Scale it down")
    if max(chosen) > tiff.bands:
        raise RefusalError(f"it has {tiff.bands} bands, and bands={','.join(map(str, chosen))} asks for more")
    values = read_bands(data, pixels.page or 1)
    if values is None:
        raise RefusalError(
            f"its values ({tiff.bands} of {tiff.bits} bits a pixel) are stored in a way that is not read here. Make it "
            "an RGB file"
        )
    return values[:, :, [band - 1 for band in chosen]]


def _of_bands(values: np.ndarray, pixels: PixelMeaning) -> Image.Image:
    """`(height, width, 1 or 3)` of any depth as RGB."""
    if values.dtype != np.uint8:
        if not pixels.has_range:
            raise unclear(values)
        values = to_bytes(values, pixels)
    return Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values).convert("RGB")


def _deep_colour(data: bytes, image: Image.Image, bits: int, pixels: PixelMeaning) -> Image.Image:
    """Colour of more than 8 bits, of which Pillow holds the high byte of each value, upright."""
    if pixels.bits == bits:  # a TIFF that is loaded is upright already, and says so
        return _turned(_rgb(_picked(image, pixels)), _orientation(image))
    tiff = tiff_facts(data, pixels.page or 1)
    orientation = _orientation(image) if tiff is None else tiff.orientation
    return _turned(_deep_bands(data, image, bits, pixels), orientation)


def _deep_bands(data: bytes, image: Image.Image, bits: int, pixels: PixelMeaning) -> Image.Image:
    values = read_bands(data, pixels.page or 1) if image.format in ("TIFF", "PNG") else None
    if values is None:
        raise RefusalError(
            f"it is {bits}-bit colour, of which the high byte of each value is read, and nothing says that the values "
            f"use all {bits} bits",
            f"Where they do, say so: ?bits={bits}; else scale it to 8 bits with the program that wrote it",
        )
    if isinstance(pixels.bands, tuple):
        if max(pixels.bands) > values.shape[2]:
            raise RefusalError(f"it has {values.shape[2]} bands, and {pixels.bands} asks for more")
        return _of_bands(values[:, :, [band - 1 for band in pixels.bands]], pixels)
    colours = 3 if values.shape[2] >= 3 else 1
    shown = _of_bands(values[:, :, :colours], pixels)
    if values.shape[2] == colours:
        return shown
    clear = to_bytes(values[:, :, -1], PixelMeaning(bits=16))  # transparency fills its bits by definition
    _require_transparency(clear, colours, tiff_facts(data), pixels)
    shown.putalpha(Image.fromarray(clear))
    return _rgb(shown)


def _require_page(tiff: TiffFacts, pixels: PixelMeaning) -> None:
    if pixels.page is None and tiff.pages > 1:
        raise RefusalError(f"it has {tiff.pages} pages, and one image is read", "Say which: ?page=1")


def _choose_page(image: Image.Image, tiff: TiffFacts, pixels: PixelMeaning) -> None:
    _require_page(tiff, pixels)
    if pixels.page is not None:
        try:
            image.seek(pixels.page - 1)
        except EOFError:
            raise RefusalError(f"it has no page {pixels.page}") from None


def _require_known_bands(tiff: TiffFacts, pixels: PixelMeaning) -> None:
    if pixels.bands is None and sum(map(bool, tiff.extra)) < tiff.more_bands:
        raise RefusalError(
            f"it has {tiff.bands} bands, and the file does not say what the last one is (near-infrared? transparency?)",
            f"Say which are the colours: ?bands={','.join(map(str, range(1, tiff.colours + 1)))}; or ?bands=rgba where "
            "the last is transparency",
        )


def _choose_bands(image: Image.Image, tiff: TiffFacts, pixels: PixelMeaning) -> None:
    """Take all bands as they are in the file, where `pixels` says which are meant."""
    if tiff.more_bands < 1:
        return
    _require_known_bands(tiff, pixels)
    mode = {4: "RGBA", 2: "LA"}.get(tiff.bands, "")
    if pixels.bands is not None and mode and tiff.bits == 8 and tiff.interleaved:
        image._mode = mode
        tiles: list[Any] = image.tile  # type: ignore[attr-defined]  # of an image file, not of any image
        image.tile = [tile._replace(args=(mode, *tile.args[1:])) for tile in tiles]  # type: ignore[attr-defined]


def _require_transparency(alpha: np.ndarray, colours: int, tiff: TiffFacts | None, pixels: PixelMeaning) -> None:
    """A band that is tagged as transparency may hold something else, such as near-infrared: then nearly no pixel is
    quite clear or quite opaque, and what is seen through it is nonsense."""
    if pixels.bands is not None:
        return
    first = "1,2,3" if colours == 3 else "1"
    if not alpha.any():
        raise RefusalError(
            "every pixel is fully transparent, so that nothing of it shows. Where its last band is no transparency, "
            f"leave it out (of a data set: ?bands={first})"
        )
    partial = alpha[(alpha > 0) & (alpha < 255)]
    most = 0.1 if tiff is not None else 0.9
    if partial.size > most * alpha.size and (tiff is not None or partial.min() < partial.max()):
        raise RefusalError(
            f"its last band is tagged as transparency and {partial.size / alpha.size:.0%} of its values are neither "
            "clear nor opaque, as those of near-infrared are",
            f"Say what it is: ?bands={first} (it is left out), or ?bands=rgba (it is transparency)",
        )


def _picked(image: Image.Image, pixels: PixelMeaning) -> Image.Image:
    """The bands that are asked for; an image that has no others (grey, a palette) stays as it is."""
    if pixels.bands is None or isinstance(pixels.bands, str) or image.mode not in ("RGBA", "LA", "RGB"):
        return image
    has = len(image.getbands())
    if max(pixels.bands) > has:
        raise RefusalError(f"it has {has} bands, and bands={','.join(map(str, pixels.bands))} asks for more")
    chosen = [image.getchannel(band - 1) for band in pixels.bands]
    return chosen[0] if len(chosen) == 1 else Image.merge("RGB", chosen)


def as_rgb(image: Image.Image, *, item: str) -> Image.Image:
    """An image that Pillow holds, turned upright and made RGB as `decode` does it. Raises `BadSampleError` for pixels
    without an agreed range."""
    if is_grey(image):
        low, high = np.asarray(image).min(), np.asarray(image).max()
        raise BadSampleError(
            item,
            f"its grey values run from {low:g} to {high:g}, which have no agreed range. Scale them to 0 to 255 and "
            'make it an image of mode "L"',
        )
    return _rgb(_turned(image, _orientation(image)))


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF says nothing about the pixels
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")  # which copies what is RGB already
