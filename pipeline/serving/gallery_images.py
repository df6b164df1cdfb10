"""The images of a gallery by their rows, read by their dataset's own reader: from files, tars, packages.

No path comes from outside: a row is a row of the gallery, and what lies there is what the dataset names. A file that is
a link out of the folder of its dataset's images is not shown.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from structure.pipeline.datasets.decode_image import decode, size
from structure.pipeline.datasets.image_files import ImageFiles, read_file
from structure.pipeline.inference.found_rows import FoundRows
from structure.pipeline.inference.image_files import FILE_NOTES, SplitFiles
from structure.pipeline.inference.search_result import Hit
from structure.pipeline.serving.refused import RefusedError

SIDE = 320
"""Pixels of a thumbnail's longer side, at most."""
CRISP = 128
"""Images of at most as many pixels a side are sent as PNG: line drawings of that size are smaller so, and sharp."""
THUMBNAILS = 2048
"""How many are kept in memory."""

SIGNATURES = (
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"GIF8", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
    (b"BM", 0, "image/bmp"),
    (b"ftypavif", 4, "image/avif"),
)
"""First bytes, where they are, and the type of the images that browsers show."""

Content = tuple[bytes, str]
"""An image as bytes, and its media type."""


class GalleryImages:
    """Images of the rows of a gallery. One thread at a time may ask: readers of tars and tables are not made for
    several. Raises RefusedError (404) for a row without an image that may be shown, saying why, BadSampleError for one
    that cannot be read."""

    def __init__(self, found: FoundRows) -> None:
        self.found = found
        for split in found.files.values():
            _ = split.folders  # read once, before somebody waits for it
        self._thumbnails = lru_cache(THUMBNAILS)(self._thumbnail)

    def thumbnail(self, row: int) -> Content:
        """The image of a row, scaled down."""
        self._require(row)
        return self._thumbnails(row)

    def forget(self) -> None:
        """Leave no image in memory."""
        self._thumbnails.cache_clear()

    def original(self, row: int) -> Content:
        """The image of a row as its dataset holds it; as PNG where it holds none that browsers show."""
        data, image = self._read(row)
        kind = media_type(data)
        return (data, kind) if kind else _written(image(), "PNG")

    def path(self, hit: Hit) -> str:
        """Where the file of a hit lies below the folder of its dataset's images; "" where it has none there."""
        holding = (folder for folder in self.found.files[hit.split].folders if _lies_in(hit.path, folder))
        folder = next(holding, None) if hit.path else None
        return os.path.relpath(hit.path, folder) if folder else ""

    def _thumbnail(self, row: int) -> Content:
        image = self._read(row)[1]()
        image.thumbnail((SIDE, SIDE))
        return _written(image, "PNG" if max(image.size) <= CRISP else "JPEG")

    def _read(self, row: int) -> tuple[bytes, Callable[[], Any]]:
        """The bytes of the image of a row, or those that determine it, and what makes it an RGB image."""
        self._require(row)
        split, number = self.found.gallery.locate(row)
        files, sample = self.found.files[split.name], split.row(number).sample
        return _content(files, sample)

    def _require(self, row: int) -> None:
        gallery = self.found.gallery
        if not 0 <= row < len(gallery) or not gallery.usable[row]:
            raise RefusedError(404, f"There is no image {row}: rows count from 0, and {len(gallery):,} are searched.")


def media_type(data: bytes) -> str:
    """The type of an image that browsers show, by its first bytes, where its header reads; else ""."""
    for signature, start, kind in SIGNATURES:
        if data[start : start + len(signature)] == signature and size(data) is not None:
            return kind
    return ""


def _content(files: SplitFiles, sample: str) -> tuple[bytes, Callable[[], Any]]:
    file, dataset = files.file(sample), files.dataset
    if file.state in ("absent", "unnamed", "removed", "missing") or dataset is None:
        raise RefusedError(404, f"{sample}: {FILE_NOTES[file.state]}.")
    if not isinstance(dataset, ImageFiles):
        number = files.numbers[sample]
        return dataset.payload(number), lambda: dataset.image(number)
    real = os.path.realpath(file.path)
    if not any(_lies_in(real, os.path.realpath(folder)) for folder in files.folders):
        raise RefusedError(
            404, f"{sample}: its file is a link out of the folder of the dataset, which is not followed."
        )
    data = read_file(real, item=sample)
    return data, lambda: decode(data, item=sample, pixels=dataset.pixels)


def _lies_in(path: str, folder: str) -> bool:
    return os.path.commonpath([os.path.abspath(path), folder]) == folder


def _written(image: Any, form: str) -> Content:
    sink = io.BytesIO()
    image.convert("RGB").save(sink, form, **({"quality": 85} if form == "JPEG" else {}))
    return sink.getvalue(), f"image/{form.lower()}"
