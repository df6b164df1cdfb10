"""Forms of TIFF that Pillow reads halfway: BigTIFF, turned deep colour, pages of many shapes, fractions in colour."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from structure.pipeline.datasets.dataset import MAY_BE_UNCLEAR
from structure.pipeline.datasets.decode_image import decode, deep_values, unclear_pixels
from structure.pipeline.datasets.pixel_meaning import AS_THE_FILE_SAYS, UnclearPixelsError
from structure.store.errors import BadSampleError
from tests.datasets.test_pixel_meaning import png, shown, tiff

DEEP = np.arange(4 * 6 * 3, dtype=np.uint16).reshape(4, 6, 3) * 50
COLOUR = (DEEP >> 4).astype(np.uint8)


def big(data: bytes) -> bytes:
    """The BigTIFF of a TIFF of one page: its header is eight bytes longer, and its directory stands at the end."""
    (count,), rest = struct.unpack("<H", data[8:10]), data[8:]
    entries = b""
    for number in range(count):
        tag, kind, many, value = struct.unpack("<HHI4s", data[10 + 12 * number : 22 + 12 * number])
        (offset,), size = struct.unpack("<I", value), {3: 2, 4: 4}[kind] * many
        if tag == 273:
            value = struct.pack("<I", offset + 8)
        elif 4 < size <= 8:
            value = data[offset : offset + size]
        elif size > 8:
            value = struct.pack("<Q", offset + 8)
        entries += struct.pack("<HHQ", tag, kind, many) + value.ljust(8, b"\0")
    head = b"II+\0" + struct.pack("<HHQ", 8, 0, 16 + len(rest))
    return head + rest + struct.pack("<Q", count) + entries + b"\0" * 8


@pytest.mark.parametrize(
    ("values", "tags", "message"),
    [
        (DEEP, {}, r"its values run from 0 to 3550 of 16 bits.*\?bits=12"),
        (
            np.dstack([COLOUR, COLOUR[:, :, 0] + 9]),
            {"extra": (0,)},
            r"does not say what the last one is.*\?bands=1,2,3",
        ),
        (np.dstack([COLOUR, COLOUR[:, :, 0] + 9]), {"extra": (2,)}, "neither clear nor opaque"),
        (np.dstack([COLOUR, COLOUR])[:, :, :5], {}, "it has 5 bands, of which three"),
    ],
)
def test_a_big_tiff_leaves_open_what_a_small_one_does(values: np.ndarray, tags: dict[str, Any], message: str) -> None:
    for data in (tiff(values, **tags), big(tiff(values, **tags))):
        assert data.startswith(MAY_BE_UNCLEAR)
        error = unclear_pixels(data, item="a", source="", pixels=AS_THE_FILE_SAYS)
        assert error is not None
        with pytest.raises(UnclearPixelsError, match=message):
            raise error


def test_a_big_tiff_is_read_as_it_was_said() -> None:
    np.testing.assert_array_equal(shown(big(tiff(DEEP)), bits=12), COLOUR)
    np.testing.assert_array_equal(shown(big(tiff(DEEP)), window=(0, 4080)), np.rint(DEEP / 16).astype(np.uint8))
    np.testing.assert_array_equal(deep_values(big(tiff(DEEP)), AS_THE_FILE_SAYS), DEEP)
    np.testing.assert_array_equal(shown(big(tiff(COLOUR))), COLOUR)


@pytest.mark.parametrize("write", [tiff, lambda *a, **k: big(tiff(*a, **k))])
@pytest.mark.parametrize("turn", range(1, 9))
def test_deep_colour_and_many_bands_are_turned_upright(turn: int, write: Any) -> None:
    plain = shown(write(COLOUR, orientation=turn))
    np.testing.assert_array_equal(shown(write(DEEP, orientation=turn), bits=12), plain)
    np.testing.assert_array_equal(
        shown(write(DEEP, orientation=turn), bits=16), shown(write(DEEP >> 8, orientation=turn), window=(0, 255))
    )
    five = np.dstack([COLOUR, COLOUR])[:, :, :5]
    np.testing.assert_array_equal(shown(write(five, orientation=turn), bands=(1, 2, 3)), plain)


def pages(*sizes: tuple[int, int]) -> bytes:
    buffer, images = io.BytesIO(), [Image.new("L", size, 10 * number) for number, size in enumerate(sizes, start=1)]
    images[0].save(buffer, format="TIFF", save_all=True, append_images=images[1:])
    return buffer.getvalue()


@pytest.mark.parametrize(
    "sizes", [((50, 40), (40, 50)), ((50, 40), (51, 40)), ((50, 40), (30, 40)), ((5, 4), (50, 40))]
)
def test_pages_of_several_shapes_are_told(sizes: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(UnclearPixelsError, match=r"it has 2 pages, and one image is read.*\?page=1"):
        decode(pages(*sizes), item="a")
    assert [shown(pages(*sizes), page=page)[0, 0, 0] for page in (1, 2)] == [10, 20]


@pytest.mark.parametrize("smaller", [(25, 20), (26, 20), (13, 10), (1, 1)])
def test_a_smaller_copy_of_the_first_page_is_an_overview(smaller: tuple[int, int]) -> None:
    assert shown(pages((50, 40), smaller))[0, 0, 0] == 10


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("colours", [1, 3])
def test_fractions_of_any_size_are_read_by_a_window(kind: Any, colours: int) -> None:
    data = tiff((COLOUR[:, :, :colours] / 256).astype(kind))
    with pytest.raises(UnclearPixelsError, match=r"floating-point numbers from 0 to 0\.8[0-9]+.*\?window=0,0\.8"):
        decode(data, item="a")
    np.testing.assert_array_equal(shown(data, window=(0, 255 / 256)), COLOUR[:, :, :colours] + np.zeros(3, np.uint8))


def test_signed_bytes_are_no_grey_values() -> None:
    with pytest.raises(UnclearPixelsError, match="its values run from -5 to 5"):
        decode(tiff(np.array([[-5, 5]], np.int8)), item="a")
    assert shown(tiff(np.array([[-5, 5]], np.int8)), window=(-5, 5))[0, :, 0].tolist() == [0, 255]
    assert shown(tiff(np.array([[0, 5]], np.int8)))[0, :, 0].tolist() == [0, 5]


def test_deep_grey_with_transparency_is_read() -> None:
    grey = np.array([[0, 1000, 4080]], ">u2")
    rows = np.dstack([grey, np.full_like(grey, 65535)]).astype(">u2")
    data = _png(rows)
    with pytest.raises(UnclearPixelsError, match="its values run from 0 to 4080"):
        decode(data, item="a")
    assert shown(data, window=(0, 4080))[0, :, 0].tolist() == [0, 62, 255]


def _png(rows: np.ndarray) -> bytes:
    """16-bit grey with transparency, `(height, width, 2)`."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], 16, 4, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_an_image_of_which_nothing_shows_is_a_bad_sample() -> None:
    """Programs that leave the fourth byte of a pixel 0 would make every picture white."""
    data = png(np.dstack([COLOUR, np.zeros_like(COLOUR[:, :, 0])]))
    with pytest.raises(BadSampleError, match=r"every pixel is fully transparent.*\?bands=1,2,3") as told:
        decode(data, item="a")
    assert not isinstance(told.value, UnclearPixelsError)  # one such picture does not stop the others
    np.testing.assert_array_equal(shown(data, bands=(1, 2, 3)), COLOUR)
