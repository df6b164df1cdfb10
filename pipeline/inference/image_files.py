"""The image files of what was found: where they are now, and whether they are still what was encoded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from structure.pipeline.datasets.dataset import Dataset
from structure.pipeline.datasets.folder_splits import files_below
from structure.pipeline.datasets.image_files import ImageFiles
from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.inference.gallery import GallerySplit
from structure.pipeline.run_context import RunContext
from structure.store.errors import BadSampleError, StructureError

FileState = Literal["", "missing", "changed", "moved", "removed", "absent", "unnamed"]
"""What has become of an image file; empty: it is as it was encoded, or the image has no file of its own."""

FILE_NOTES: Mapping[str, str] = {
    "missing": "the file is missing",
    "changed": "the file has changed since it was encoded",
    "moved": "the file was moved here",
    "removed": "no longer in the dataset",
    "absent": "the dataset is not on this machine",
    "unnamed": "the features were made without files",
}

MOST_FILES = 200_000
"""Files that are looked through for one that has moved."""


@dataclass(frozen=True)
class ImageFile:
    """Where an image is now, "" where that is not known or it has no file of its own, and what has become of it."""

    path: str
    state: FileState


class SplitFiles:
    """The images of one split of a gallery, opened when the first is asked for."""

    def __init__(self, context: RunContext, split: GallerySplit) -> None:
        self.context, self.split = context, split

    def file(self, sample: str) -> ImageFile:
        """Where the image of a sample is now; a file that was moved within its folder is found by its content."""
        dataset = self.dataset
        if dataset is None:
            return ImageFile("", "absent" if self._spec else "unnamed")
        if sample not in self.numbers:
            return ImageFile("", "removed")
        if not isinstance(dataset, ImageFiles):
            return ImageFile("", "")
        number = self.numbers[sample]
        path, (stamp, digest) = dataset.paths[number], self._digests.get(sample, ("", ""))
        if not os.path.isfile(path):
            moved = self._elsewhere(path, digest)
            return ImageFile(moved, "moved") if moved else ImageFile(path, "missing")
        if dataset.stamp(number) == stamp or not digest or _digest(path) == digest:
            return ImageFile(path, "")
        return ImageFile(path, "changed")

    def image(self, sample: str) -> Any:
        """The image itself, as it is now. Raises StructureError where there is none."""
        if self.dataset is None or sample not in self.numbers:
            raise BadSampleError(sample, "its image is not on this machine")
        found = self.file(sample)
        if found.state == "moved":
            from structure.pipeline.datasets.decode_image import decode  # Pillow: only where an image is shown

            return decode(Path(found.path).read_bytes(), item=sample, source=found.path)
        return self.dataset.image(self.numbers[sample])

    @cached_property
    def dataset(self) -> Dataset | None:
        """The dataset that the split was read from; None where it is not here or does not open any more."""
        if self.split.index.dataset is not None:
            return self.split.index.dataset
        if not self._spec:
            return None
        name = self.split.features.manifest.split.partition(".first")[0]
        try:
            return open_dataset(self._spec, split=name, data_root=self.context.data_root)
        except StructureError:
            return None

    @property
    def _spec(self) -> str:
        """What was typed to name the dataset; "" for features that were imported."""
        return (self.split.features.manifest.provenance or {}).get("dataset_spec") or ""

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Sample id -> its number in the dataset."""
        dataset = self.dataset
        if isinstance(dataset, ImageFiles):
            return {item: number for number, item in enumerate(dataset.ids)}
        found = {}
        for number in range(len(dataset) if dataset is not None else 0):
            try:
                found[dataset.item(number).id] = number  # type: ignore[union-attr]
            except BadSampleError as error:
                found[error.item] = number
        return found

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """The folder that holds all image files of the dataset; those of the single files where nothing but the root of
        the file system does; none where its images are no files."""
        if not isinstance(self.dataset, ImageFiles):
            return ()
        folders = sorted({os.path.dirname(os.path.abspath(path)) for path in self.dataset.paths if path})
        top = os.path.commonpath(folders) if folders else ""
        return (top,) if top != os.path.dirname(top) else tuple(folders)

    @cached_property
    def _digests(self) -> dict[str, tuple[str, str]]:
        return self.split.samples.digests

    def _elsewhere(self, path: str, digest: str) -> str:
        """A file of the same name and content below the folder of the dataset's images; "" for none."""
        for other in self._by_name.get(os.path.basename(path), ()):
            if other != path and _digest(other) == digest:
                return other
        return ""

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """The files below the folders of the dataset's images."""
        found: dict[str, list[str]] = {}
        below = (file for folder in self.folders if os.path.isdir(folder) for file in files_below(Path(folder)))
        for file in islice(below, MOST_FILES):
            found.setdefault(file.name, []).append(str(file))
        return found


def _digest(path: str) -> str:
    """Hex SHA-256 of a file; "" where it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""
