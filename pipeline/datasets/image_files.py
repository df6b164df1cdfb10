"""Datasets whose images are files: from path to bytes, stamp and image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from structure.pipeline.datasets.dataset import Dataset, within
from structure.pipeline.datasets.decode_video import MOST_BYTES, VIDEO_SUFFIXES, decode_frames, is_video
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

VISUAL_SUFFIXES = SUFFIXES | VIDEO_SUFFIXES
"""Those of images and of videos."""


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

    def frames(self, index: int, count: int) -> Iterator[Image.Image]:
        data = self.payload(index)
        if not (is_video(data) or names_video(self.paths[index])):
            return iter([self.image(index)])
        return decode_frames(data, count, item=self.ids[index], source=self.paths[index])

    @property
    def videos(self) -> int:
        return sum(map(names_video, self.paths))

    def stamp(self, index: int) -> str:
        return stamp(self.paths[within(index, len(self))])


def read_file(path: str, *, item: str) -> bytes:
    """The file's content. Raises `BadSampleError` where there is no such file or it cannot be read."""
    try:
        if names_video(path) and (size := os.path.getsize(path)) > MOST_BYTES:
            raise BadSampleError(item, f"{path} has {size:,} bytes; of a video at most {MOST_BYTES:,} are read")
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise BadSampleError(item, f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise BadSampleError(item, f"{path} cannot be read: {error}") from None


def frames_of(data: bytes, count: int, *, item: str, source: str) -> Iterator[Image.Image]:
    """`count` frames of the video in `data`, as `decode_frames`; the image alone where it is one."""
    from structure.pipeline.datasets.decode_image import decode  # Pillow: only where an image is read

    if is_video(data) or names_video(source):
        return decode_frames(data, count, item=item, source=source)
    return iter([decode(data, item=item, source=source)])


def names_video(path: str | Path) -> bool:
    """Whether a file name ends as those of videos do."""
    return os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES


def images_or_videos(paths: Sequence[Path]) -> list[Path]:
    """The image files among these, or the videos where there is no image: a few videos beside photos are left out."""
    images = [path for path in paths if path.suffix.lower() in SUFFIXES]
    return images or [path for path in paths if names_video(path)]


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
