"""Whatever the bytes are, decoding gives an RGB image or a `BadSampleError` that says why."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from structure.pipeline.datasets.decode_image import MAX_PIXELS, decode, is_plain, size
from structure.pipeline.datasets.pixel_meaning import PixelMeaning
from structure.store.errors import BadSampleError


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def gradient(mode: str = "RGB") -> Image.Image:
    values = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
    return Image.fromarray(values).convert(mode)


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        *[("RGB", "PNG"), ("L", "PNG"), ("1", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("LA", "PNG"), ("P", "GIF")],
        *[("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "WEBP"), ("RGB", "BMP"), ("CMYK", "TIFF"), ("YCbCr", "TIFF")],
        *[("RGB", "PPM"), ("RGB", "JPEG2000")],
    ],
)
def test_every_ordinary_form_becomes_rgb(mode: str, form: str) -> None:
    image = decode(encoded(gradient(mode), form), item="a")
    assert (image.mode, image.size) == ("RGB", (6, 4))
    lossless = mode in ("RGB", "RGBA") and form in ("PNG", "BMP", "PPM", "TIFF")
    if lossless:
        assert np.array_equal(np.asarray(image), np.asarray(gradient()))


def test_sixteen_bit_grey_keeps_its_high_byte_where_all_bits_are_used() -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    for form in ("PNG", "TIFF"):
        shown = decode(encoded(Image.fromarray(values), form), item="a", pixels=PixelMeaning(bits=16))
        assert np.asarray(shown)[0, :, 2].tolist() == [0, 0, 1, 128, 255]


def test_pixels_without_an_agreed_range_are_refused_with_the_range() -> None:
    wide = encoded(Image.fromarray(np.array([[0, 70000]], np.int32)), "TIFF")
    with pytest.raises(BadSampleError, match="from 0 to 70000, beyond 16 bits"):
        decode(wide, item="scan")
    with pytest.raises(BadSampleError, match="floating-point"):
        decode(encoded(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"), item="scan")


def test_transparency_is_laid_on_white() -> None:
    clear = np.zeros((2, 2, 4), np.uint8)
    clear[0, 0] = (10, 20, 30, 255)
    assert np.asarray(decode(encoded(Image.fromarray(clear), "PNG"), item="a")).tolist() == [
        [[10, 20, 30], [255, 255, 255]],
        [[255, 255, 255], [255, 255, 255]],
    ]


def test_a_palette_with_transparency_in_bytes_gives_no_warning() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    data = encoded(image, "PNG", transparency=b"\xff\x00")
    assert np.asarray(decode(data, item="a")).tolist() == [[[255, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_the_image_upright(orientation: int) -> None:
    """The oracle stores an image turned the other way, so that upright is the original."""
    original = gradient()
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose values that are the inverses
    stored = original.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else original
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "PNG", exif=exif)
    assert np.array_equal(np.asarray(decode(data, item="a")), np.asarray(original))
    assert size(data) == original.size
    assert is_plain(data) == ("png" if orientation == 1 else None)


def test_damaged_exif_counts_as_none() -> None:
    data = encoded(gradient(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(data, item="a").size == (6, 4)


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "lime", "blue")]
    for form in ("GIF", "PNG", "WEBP"):
        data = encoded(
            frames[0], form, save_all=True, append_images=frames[1:], **({"lossless": True} if form == "WEBP" else {})
        )
        assert np.asarray(decode(data, item="a"))[0, 0].tolist() == [255, 0, 0]
        assert is_plain(data) is None


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [13_500, 60_000])
def test_a_decompression_bomb_is_refused_with_both_numbers(side: int) -> None:
    with pytest.raises(BadSampleError) as caught:
        decode(bomb(side, side), item="bomb.png")
    assert str(side * side) in caught.value.reason
    assert str(MAX_PIXELS) in caught.value.reason
    assert caught.value.item == "bomb.png"


def test_a_large_image_below_the_limit_gives_no_warning() -> None:
    image = decode(encoded(Image.new("1", (12_000, 8_000)), "PNG"), item="a")
    assert image.size == (12_000, 8_000)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><title>404</title>", "not an image"),
        (b"version https://git-lfs.github.com/spec/v1\n", "begin with b'version http"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
    ],
)
def test_bad_bytes_are_named(data: bytes, reason: str) -> None:
    with pytest.raises(BadSampleError, match=reason) as caught:
        decode(data, item="x.png", source="/data/x.png")
    assert caught.value.reason.startswith("/data/x.png: ")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000"])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_a_image_cut_short_is_refused_not_filled_with_grey(form: str, part: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))
    data = encoded(noise, form)
    with pytest.raises(BadSampleError, match=r"damaged or truncated|not an image"):
        decode(data[: int(len(data) * part)], item="cut")


SEEDS = [
    encoded(gradient(mode), form)
    for mode, form in (("RGB", "PNG"), ("P", "GIF"), ("RGB", "JPEG"), ("CMYK", "TIFF"), ("RGB", "WEBP"))
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_damage_never_gives_another_error(data: bytes, draws: st.DataObject) -> None:
    changed = bytearray(data)
    for _ in range(draws.draw(st.integers(1, 6))):
        changed[draws.draw(st.integers(0, len(changed) - 1))] = draws.draw(st.integers(0, 255))
    cut = bytes(changed[: draws.draw(st.integers(0, len(changed)))]) if draws.draw(st.booleans()) else bytes(changed)
    with contextlib.suppress(BadSampleError):
        assert decode(cut, item="a").mode == "RGB"
    size(cut)
    is_plain(cut)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP"])
def test_an_image_that_is_rgb_already_is_not_copied(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(gradient(), form)
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("a copy was made"))
    image = decode(data, item="a")
    assert (image.mode, image.tobytes()) == ("RGB", expected.tobytes())
