"""Pixels whose meaning a file leaves open: told with their range, refused until it is said, then read as said."""

from __future__ import annotations

import io
import pickle
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from structure.pipeline import extract
from structure.pipeline.datasets import open_dataset
from structure.pipeline.datasets.decode_image import as_rgb, decode, is_plain
from structure.pipeline.datasets.deep_bands import read_bands
from structure.pipeline.datasets.pixel_meaning import PixelMeaning, UnclearPixelsError
from structure.pipeline.stages.check_data import check_data
from structure.store import open_store
from structure.store.errors import BadSampleError, StructureError


def tiff(array: np.ndarray, **tags: Any) -> bytes:
    """An uncompressed TIFF of the array's `(height, width[, bands])`, written without Pillow's ideas of bands."""
    values = array if array.ndim == 3 else array[:, :, None]
    height, width, bands = values.shape
    size, kind = values.dtype.itemsize * 8, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    photometric, extra = tags.get("photometric", 2 if bands >= 3 else 1), tags.get("extra")
    fields = {256: [width], 257: [height], 258: [size] * bands, 259: [1], 262: [photometric], 273: [0], 277: [bands]}
    fields |= {278: [height], 279: [values.nbytes], 284: [1], 339: [kind] * bands}
    fields |= {338: list(extra)} if extra is not None else {}
    fields |= {274: [tags["orientation"]]} if "orientation" in tags else {}
    beyond, entries = 8 + 2 + 12 * len(fields) + 4, b""
    lists = b""
    start = beyond + sum(2 * len(numbers) for numbers in fields.values() if len(numbers) > 2)
    for tag, numbers in sorted(fields.items()):
        if tag in (273, 279):
            entries += struct.pack("<HHII", tag, 4, 1, start if tag == 273 else values.nbytes)
        elif len(numbers) > 2:
            entries += struct.pack("<HHII", tag, 3, len(numbers), beyond + len(lists))
            lists += struct.pack(f"<{len(numbers)}H", *numbers)
        else:
            entries += struct.pack("<HHI2H", tag, 3, len(numbers), *numbers, *[0] * (2 - len(numbers)))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(fields)) + entries + b"\0" * 4 + lists + values.tobytes()


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def shown(data: bytes, **meaning: Any) -> np.ndarray:
    return np.asarray(decode(data, item="a", pixels=PixelMeaning(**meaning)))


CT = np.array([[900, 1000, 1100, 1200]], np.uint16)


@pytest.mark.parametrize("write", [png, tiff])
def test_grey_beyond_eight_bits_is_refused_with_its_range_until_it_is_said(write: Any) -> None:
    """By its high byte a CT of 900 to 1,200 is black: 3 and 4 of 255."""
    with pytest.raises(UnclearPixelsError, match=r"from 900 to 1200 of 16 bits.*\?window=900,1200.*\?bits=12"):
        decode(write(CT), item="a")
    assert shown(write(CT), window=(900, 1200))[0, :, 0].tolist() == [0, 85, 170, 255]
    assert shown(write(CT), window=(1000, 1100))[0, :, 0].tolist() == [0, 0, 255, 255]
    assert shown(write(CT), bits=12)[0, :, 1].tolist() == [900 >> 4, 1000 >> 4, 1100 >> 4, 1200 >> 4]
    assert shown(write(CT), percentiles=(0, 100))[0, :, 2].tolist() == [0, 85, 170, 255]
    with pytest.raises(BadSampleError, match="from 900 to 1200, and bits=10 are 0 to 1023"):
        shown(write(CT), bits=10)


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32])
def test_signed_values_and_fractions_are_read_by_a_window(kind: Any) -> None:
    values = np.array([[-1000, 0, 400]], kind)
    with pytest.raises(UnclearPixelsError, match=r"-1000 .*\?window=-1000,400"):
        decode(tiff(values), item="a")
    assert shown(tiff(values), window=(-1000, 400))[0, :, 0].tolist() == [0, 182, 255]
    broken = np.array([[0, np.nan]], np.float32)
    with pytest.raises(BadSampleError, match="1 of its 2 pixels are no numbers"):
        shown(tiff(broken), window=(0, 1))


def test_white_may_be_zero() -> None:
    """An X-ray is often saved so; Pillow turns such a file round at 8 bits and not at 16."""
    assert shown(tiff(CT, photometric=0), window=(900, 1200))[0, :, 0].tolist() == [255, 170, 85, 0]
    assert shown(tiff(np.array([[0, 255]], np.uint8), photometric=0))[0, :, 0].tolist() == [255, 0]


def test_a_pgm_says_itself_what_is_white() -> None:
    assert shown(b"P5\n# a comment\n2 1\n4095\n" + np.array([0, 4095], ">u2").tobytes())[0, :, 0].tolist() == [0, 255]
    with pytest.raises(UnclearPixelsError, match="from 0 to 300"):
        decode(b"P5\n2 1\n65535\n" + np.array([0, 300], ">u2").tobytes(), item="a")


def test_grey_jpeg_2000_is_read_in_its_own_values() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.tile(CT, (8, 4))).save(buffer, format="JPEG2000", irreversible=False)
    with pytest.raises(UnclearPixelsError, match="from 900 to 1200"):
        decode(buffer.getvalue(), item="a")
    assert shown(buffer.getvalue(), window=(900, 1200))[0, :4, 0].tolist() == [0, 85, 170, 255]


NAIP = np.tile(np.array([120, 80, 40, 30], np.uint8), (4, 6, 1))
NAIP[:, 3:, 3] = 220


@pytest.mark.parametrize("extra", [None, (0,), (1,), (2,)])
def test_near_infrared_is_never_blended_or_dropped_in_silence(extra: Any) -> None:
    with pytest.raises(UnclearPixelsError, match=r"band.*\?bands=1,2,3"):
        decode(tiff(NAIP, extra=extra), item="a")
    assert np.unique(shown(tiff(NAIP, extra=extra), bands=(1, 2, 3)).reshape(-1, 3), axis=0).tolist() == [[120, 80, 40]]
    assert shown(tiff(NAIP, extra=extra), bands=(4, 1, 2))[0, [0, 5]].tolist() == [[30, 120, 80], [220, 120, 80]]
    blended = shown(tiff(NAIP, extra=extra), bands="rgba")[0, 0].tolist()
    assert blended == [239, 234, 230]
    with pytest.raises(BadSampleError, match="it has 4 bands, and bands=5,1,2 asks for more"):
        shown(tiff(NAIP, extra=extra), bands=(5, 1, 2))


def test_near_infrared_in_the_alpha_of_a_png_is_told_and_real_transparency_is_not() -> None:
    with pytest.raises(UnclearPixelsError, match="100% of its values are neither clear nor opaque"):
        decode(png(NAIP), item="a")
    mask = NAIP.copy()
    mask[:, 3:, 3], mask[:, :3, 3] = 255, 0
    assert shown(tiff(mask, extra=(2,)))[0, [0, 5]].tolist() == [[255, 255, 255], [120, 80, 40]]
    glass = NAIP.copy()
    glass[:, :, 3] = 128
    assert shown(png(glass)).shape == (4, 6, 3)


SENTINEL = np.random.default_rng(0).integers(0, 3001, (4, 6, 13)).astype(np.uint16)


def test_bands_beyond_four_are_told_and_chosen() -> None:
    data = tiff(SENTINEL, extra=(0,) * 10)
    with pytest.raises(UnclearPixelsError, match=r"it has 13 bands, of which three are to be red.*\?bands=3,2,1"):
        decode(data, item="a")
    with pytest.raises(UnclearPixelsError, match=r"of 16 bits, which have no agreed range.*\?window="):
        shown(data, bands=(4, 3, 2))
    expected = np.rint(SENTINEL[:, :, [3, 2, 1]] * (255 / 3000))
    np.testing.assert_array_equal(shown(data, bands=(4, 3, 2), window=(0, 3000)), expected)
    assert len(np.unique(shown(data, bands=(8,), bits=12), axis=2)[0, 0]) == 1
    with pytest.raises(BadSampleError, match="it has 13 bands, and bands=14,1,1 asks for more"):
        shown(data, bands=(14, 1, 1))
    np.testing.assert_array_equal(
        shown(tiff(SENTINEL.astype(np.uint8)), bands=(1, 2, 3))[:, :, 2], SENTINEL[:, :, 2] % 256
    )


def deep_png(values: np.ndarray) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width, bands = values.shape
    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[bands], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("write", [tiff, deep_png])
def test_colour_beyond_eight_bits_is_read_by_a_window_too(write: Any) -> None:
    """Sentinel's colours of 0 to 3,000 are black by their high bytes."""
    data = write(SENTINEL[:, :, :3])
    with pytest.raises(UnclearPixelsError, match=r"its values run from [0-9]+ to 29[0-9]+ of 16 bits.*\?bits=12"):
        decode(data, item="a")
    np.testing.assert_array_equal(shown(data, window=(0, 3000)), np.rint(SENTINEL[:, :, :3] * (255 / 3000)))
    np.testing.assert_array_equal(shown(data, bits=12), SENTINEL[:, :, :3] >> 4)
    np.testing.assert_array_equal(shown(data, bits=16), SENTINEL[:, :, :3] >> 8)
    near_infrared = {"extra": (2,)} if write is tiff else {}
    with pytest.raises(UnclearPixelsError, match=r"neither clear nor opaque.*\?bands=1,2,3"):
        shown(write(SENTINEL[:, :, :4] + np.uint16(1000), **near_infrared), window=(0, 4095))
    opaque = np.dstack([SENTINEL[:, :, :3], np.full((4, 6), 65535, np.uint16)])
    np.testing.assert_array_equal(shown(write(opaque, **near_infrared), bits=12), SENTINEL[:, :, :3] >> 4)


def deflated(values: np.ndarray, *, tile: bool, order: str) -> bytes:
    """The bands one after the other, each in two deflated strips or tiles, as differences (TIFF's predictor 2)."""
    height, width, bands = values.shape
    parts = []
    for band in range(bands):
        halves = [values[:, :16, band], values[:, 16:, band]] if tile else [values[:16, :, band], values[16:, :, band]]
        for half in halves:
            steps = np.diff(half, axis=1, prepend=np.zeros((len(half), 1), half.dtype))
            parts.append(zlib.compress(steps.astype(f"{order}u2").tobytes()))
    fields = {256: [width], 257: [height], 258: [16] * bands, 259: [8], 262: [2], 277: [bands], 284: [2], 317: [2]}
    where, sizes = (324, 325) if tile else (273, 279)
    fields |= {322: [16], 323: [height]} if tile else {278: [16]}
    start = 8 + 2 + 12 * (len(fields) + 2) + 4
    lists = struct.pack(f"{order}{bands}H", *fields[258])
    at = start + len(lists) + 8 * len(parts)
    fields[where] = [at + sum(map(len, parts[:number])) for number in range(len(parts))]
    fields[sizes] = [len(part) for part in parts]
    entries = b""
    for tag, numbers in sorted(fields.items()):
        if tag in (where, sizes):
            entries += struct.pack(f"{order}HHII", tag, 4, len(numbers), start + len(lists))
            lists += struct.pack(f"{order}{len(numbers)}I", *numbers)
        elif tag == 258:
            entries += struct.pack(f"{order}HHII", tag, 3, len(numbers), start)
        else:
            entries += struct.pack(f"{order}HHI2H", tag, 3, 1, numbers[0], 0)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return head + struct.pack(f"{order}H", len(fields)) + entries + b"\0" * 4 + lists + b"".join(parts)


@pytest.mark.parametrize("tile", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_bands_are_read_from_strips_and_tiles_in_any_order(tile: bool, order: str) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (32, 32, 3)).astype(np.uint16)
    np.testing.assert_array_equal(read_bands(deflated(values, tile=tile, order=order)), values)


def test_further_pages_of_a_tiff_are_told_and_chosen() -> None:
    buffer = io.BytesIO()
    pages = [Image.new("L", (5, 4), value) for value in (10, 20, 30)]
    pages[0].save(buffer, format="TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(UnclearPixelsError, match=r"it has 3 pages, and one image is read.*\?page=1"):
        decode(buffer.getvalue(), item="a")
    assert [shown(buffer.getvalue(), page=page)[0, 0, 0] for page in (1, 2, 3)] == [10, 20, 30]
    with pytest.raises(BadSampleError, match="it has no page 4"):
        shown(buffer.getvalue(), page=4)
    pyramid = io.BytesIO()
    pages[0].save(pyramid, format="TIFF", save_all=True, append_images=[Image.new("L", (2, 2), 9)])
    assert shown(pyramid.getvalue())[0, 0, 0] == 10


def test_turned_images_are_turned_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(CT).save(buffer, format="PNG", exif=exif)
    assert shown(buffer.getvalue(), window=(900, 1200))[:, 0, 0].tolist() == [0, 85, 170, 255]
    buffer = io.BytesIO()
    Image.fromarray(NAIP).save(buffer, format="PNG", exif=exif)
    assert shown(buffer.getvalue(), bands=(1,)).shape == (6, 4, 3)


def test_an_image_in_memory_is_refused_too() -> None:
    with pytest.raises(BadSampleError, match="from 900 to 1200"):
        as_rgb(Image.fromarray(CT), item="a")
    assert is_plain(tiff(CT)) is None


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("window=900,1200", PixelMeaning(window=(900, 1200))),
        ("window=percentile", PixelMeaning(percentiles=(1, 99))),
        ("percentile", PixelMeaning(percentiles=(1, 99))),
        ("percentile=0.5,99.5", PixelMeaning(percentiles=(0.5, 99.5))),
        ("window=bits=12", PixelMeaning(bits=12)),
        ("bits=12&bands=4,3,2&page=2", PixelMeaning(bits=12, bands=(4, 3, 2), page=2)),
        ("bands=rgba", PixelMeaning(bands="rgba")),
    ],
)
def test_what_may_stand_behind_a_name(text: str, meaning: PixelMeaning, tmp_path: Path) -> None:
    (tmp_path / "scans/ct").mkdir(parents=True)
    (tmp_path / "scans/ct/a.png").write_bytes(png(CT))
    assert open_dataset(f"folder:{tmp_path}/scans?{text}", data_root=".").pixels == meaning


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("window=1200,900", "window=1200,900 is no interval"),
        ("window=a", "is no interval"),
        ("bits=8", "bits=8 is not a whole number from 9 to 16"),
        ("bits=12&window=0,1", "bits and window are given"),
        ("percentile=-1,50", "two numbers from 0 to 100"),
        ("bands=0,1,2", "is no choice of bands"),
        ("page=0", "page=0 is not a whole number"),
        ("windw=0,1", "Unknown option of folder:DIR 'windw'. Did you mean window"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(StructureError, match=message):
        open_dataset(f"folder:{tmp_path}?{text}", data_root=".")


def test_the_error_travels_between_processes() -> None:
    error = UnclearPixelsError("a", "grey", "Say ?bits=12")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.item, copy.remedy) == (str(error), "a", "Say ?bits=12")


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Class folders with CT slices of 900 to 1,200 and, in one of them, an ordinary image."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for number in range(12):
        file = tmp_path / f"ct/{'ab'[number % 2]}/{number:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        values = random.integers(900, 1201, (64, 64)).astype(np.uint16)
        file.write_bytes(png(values if number else (values >> 4).astype(np.uint8)))
    return tmp_path


def test_a_check_says_the_range_of_all_and_what_to_type(scans: Path) -> None:
    found = check_data("folder:ct", splits=["all"])
    (problem,) = [problem for problem in found.problems if problem.level == "error"]
    assert (problem.kind, problem.count, problem.left) == ("pixels without an agreed meaning", 11, 0)
    assert problem.examples[0].startswith("11 images have values from 900 to 1,200 (1st to 99th percentile 90")
    typed = re.findall(r"'(folder:[^']*)'", problem.examples[0])
    assert typed == ["folder:ct?window=900,1200", "folder:ct?window=percentile", "folder:ct?bits=12"]
    for spec in typed:
        assert check_data(spec, splits=["all"]).ok
    cut = check_data("folder:ct?window=1000,1100", splits=["all"]).problems
    assert [problem.kind for problem in cut] == ["pixels beyond the window"]


def test_extraction_waits_for_an_answer_and_keeps_it_in_the_fingerprint(scans: Path) -> None:
    with pytest.raises(StructureError, match=r"ct: sample a/02.png: .*'folder:ct\?window=900,1200'") as refused:
        extract(["bundled:scenes-vit"], "folder:ct", store="store", layers=["block.00"])
    assert not isinstance(refused.value, BadSampleError)
    extract(["bundled:scenes-vit"], "folder:ct?window=900,1200", store="store", layers=["block.00"])
    store = open_store("store")
    (features,) = (store[key] for key in store.keys())  # noqa: SIM118 (a store is no mapping)
    assert features.manifest.identity["data"]["pixels"] == {"window": [900.0, 1200.0]}
    with pytest.raises(StructureError, match="pixels"):
        extract(["bundled:scenes-vit"], "folder:ct?window=0,4095", store="store", layers=["block.00"])
