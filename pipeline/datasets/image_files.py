"""Datasets whose images are files: from path to bytes, stamp and image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from structure.pipeline.datasets.dataset import Dataset, within
from structure.store.errors import BadSampleError, StructureError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif"),
    }
)
"""File name endings that are taken for images, in lower case."""


class ImageFiles(Dataset):
    """A dataset that knows the id and the file of every sample; kinds of data add texts and labels in `item`.

    Paths are saved as text: a worker's copy of 100,000 samples is then a few megabytes and quick to send.
    """

    def __init__(self, ids: Sequence[str], paths: Sequence[str]) -> None:
        for item in ids:
            require_text(item, what="sample id", where="")
        self.ids = tuple(ids)
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.ids)

    def payload(self, index: int) -> bytes:
        return read_file(self.paths[within(index, len(self))], item=self.ids[index])

    def image(self, index: int) -> Image.Image:
        from structure.pipeline.datasets.decode_image import decode  # Pillow: only where an image is read

        return decode(self.payload(index), item=self.ids[index], source=self.paths[index], pixels=self.pixels)

    def stamp(self, index: int) -> str:
        return stamp(self.paths[within(index, len(self))])


def read_file(path: str, *, item: str) -> bytes:
    """The file's content. Raises `BadSampleError` where there is no such file or it cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise BadSampleError(item, f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise BadSampleError(item, f"{path} cannot be read: {error}") from None


def stamp(path: str) -> str:
    """`size:mtime` of a file (bytes, nanoseconds); "missing" where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return "missing"
    return f"{status.st_size}:{status.st_mtime_ns}"


def require_text(text: str, *, what: str, where: str) -> None:
    """Raises `StructureError` for text that no file can hold (half a surrogate pair)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        place = f"{where}: " if where else ""
        raise StructureError(f"{place}the {what} {text!r} is not Unicode text (UTF-8). Rename it.") from None
