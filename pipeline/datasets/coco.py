"""COCO captions in their usual folder: `coco`."""

from __future__ import annotations

import os
from pathlib import Path

from structure.pipeline.datasets.captioned import Captioned, CaptionedKind, read_coco, read_karpathy
from structure.pipeline.datasets.catalogue import DatasetEntry
from structure.store.errors import unknown

SHORT = {"train": ("train2014", "train2017"), "val": ("val2014", "val2017"), "test": ("karpathy-test",)}
"""Short names for splits: the first whose annotation file is there."""


class CocoKind(CaptionedKind):
    """COCO captions; the split's resolved name is the dataset's.

    - `train2014` (82,783 photos: the paper's training pairs), `val2014` (40,504: the paper's retrieval set),
      `train2017`, `val2017`: all photos of `annotations/captions_<split>.json`.
    - `karpathy-train` (82,783), `karpathy-val`, `karpathy-test` (5,000 each), `karpathy-restval` (30,504): as
      `dataset_coco.json` marks them.
    - `train` (default) is train2014, or train2017 where that alone is there; `val` likewise; `test` is karpathy-test
      and nothing else, for a figure on another set would be taken for it.
    """

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> Captioned:
        """Raises `NotPresentError` for an annotation file or a folder of images that is not there."""
        entry, root, asked = self.entry, self.entry.root(data_root), split or self.default_split
        if asked not in SHORT and asked not in entry.splits:
            raise unknown("split of coco", asked, [*SHORT, *entry.splits])
        if root is None:
            raise entry.absent(data_root, "its folder is not there")
        options = SHORT.get(asked, (asked,))
        resolved, file = next(((name, found) for name in options if (found := entry.file(root, name))), (asked, None))
        if file is None:
            needed = " or ".join(" or ".join(entry.splits[name]) for name in options)
            there = ", ".join(entry.present(data_root)) or "none"
            raise entry.absent(
                data_root, f"split {asked} needs {needed} in {root}, and the splits that are there are: {there}"
            )
        if resolved.startswith("karpathy-"):
            part = resolved.removeprefix("karpathy-")
            photos = [photo for photo in read_karpathy(file) if photo.split == part]
        else:
            photos = read_coco(file)
        folders: dict[str, str] = {}
        for photo in photos:
            part = photo.folder or resolved
            if part not in folders:
                folders[part] = str(_images(entry, data_root, root, part))
        paths = [os.path.join(folders[photo.folder or resolved], photo.name) for photo in photos]
        return Captioned("coco", resolved, photos, paths, source=file)


def _images(entry: DatasetEntry, data_root: Path, root: Path, part: str) -> Path:
    folder = entry.media_folder(root, part)
    if folder is None:
        folders = " or ".join(name.replace("{part}", part) for name in entry.media)
        raise entry.absent(data_root, f"the images of {part} are not in {root} (folder {folders})")
    return folder
