"""Every image below a folder, without labels or captions: `images:DIR`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from structure.pipeline.datasets.dataset import Item, within
from structure.pipeline.datasets.decode_video import VIDEO_SUFFIXES
from structure.pipeline.datasets.folder_splits import files_below, is_leftover
from structure.pipeline.datasets.image_files import SUFFIXES, ImageFiles, images_or_videos
from structure.pipeline.datasets.kind import DatasetKind
from structure.pipeline.datasets.paths import folder_safe, locate
from structure.store.errors import NotPresentError, StructureError, unknown

SPLIT = "all"


class ImagesBelow(ImageFiles):
    """The image files of a folder and of all folders in it, or its videos where there is no image; ids are paths
    relative to it, with `/`, in sorted order.

    Its name in the store ends in eight digits of the folder's full path: two folders `photos` are two datasets. Hidden
    files and what archivers leave behind are left out; files that are no images by their ending are counted in `notes`.
    `ids` and `paths` name the samples in another order, or others besides. Raises NotPresentError without the folder
    and StructureError for a folder without images.
    """

    kind, split = "images", SPLIT

    def __init__(self, folder: str | Path, *, ids: Sequence[str] = (), paths: Sequence[str] = ()) -> None:
        self.root = Path(folder)
        self.tasks = {}
        self.name = named(self.root)
        if ids:
            super().__init__(ids, paths)
            return
        found, others = _scan(self.root)
        super().__init__([path.relative_to(self.root).as_posix() for path in found], [str(path) for path in found])
        if others:
            count = f"{len(others):,} file that is no image" if len(others) == 1 else f"{len(others):,} other files"
            self.notes = (f"{self.root}: {count} left out ({others[0].name}{', ...' if len(others) > 1 else ''})",)

    def item(self, index: int) -> Item:
        return Item(self.ids[within(index, len(self))])


def named(folder: Path) -> str:
    """The dataset's name in the store."""
    path = folder.resolve()
    return f"{folder_safe(path.name)}-{hashlib.sha256(str(path).encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def _scan(root: Path) -> tuple[list[Path], list[Path]]:
    """Images below the folder, and other files that are not hidden."""
    if not root.is_dir():
        what = "is a file" if root.exists() else "is not there"
        raise NotPresentError(f"The folder {root.absolute()} {what}. Name a folder with images, at any depth.")
    files = [path for path in files_below(root) if not any(map(is_leftover, path.relative_to(root).parts))]
    found = images_or_videos(files)
    chosen = set(found)
    others = [path for path in files if path not in chosen]
    if not found:
        has = f"{len(others):,} other files, the first is {others[0].name}" if others else "no file"
        endings = ", ".join(sorted(SUFFIXES))
        films = ", ".join(sorted(VIDEO_SUFFIXES))
        raise StructureError(
            f"{root.absolute()} has no image at any depth ({has}). Images end in {endings}; videos in {films}."
        )
    return found, others


class ImagesKind(DatasetKind):
    """`images:DIR`; a relative path is looked for from the current folder, then from the data root."""

    form = "images:DIR"
    summary = "every image below a folder, without labels or captions"
    how = "any folder with images, at any depth"
    splits = (SPLIT,)

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> ImagesBelow:
        root = locate(argument, data_root=data_root, kind=self.name, needs="a folder with images")
        if split not in (None, SPLIT):
            raise unknown("split", split, [SPLIT], hint=f"The images of {root} are one split.")
        return ImagesBelow(root)
