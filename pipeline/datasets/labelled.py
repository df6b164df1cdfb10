"""Classification sets once their files are read: images in arrays, and image files with labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from structure.pipeline.datasets.dataset import Dataset, Item, Task, within
from structure.pipeline.datasets.image_files import ImageFiles, stamp
from structure.store.errors import StructureError

if TYPE_CHECKING:
    from PIL import Image

Reader = Callable[[Sequence[Path]], tuple[np.ndarray, np.ndarray]]


class LabelledFiles(ImageFiles):
    """Image files with a class each. Raises `StructureError` for a label outside the class list."""

    kind = "classification"

    def __init__(
        self, name: str, split: str, *, ids: Sequence[str], paths: Sequence[str], labels: Sequence[int], task: Task
    ) -> None:
        super().__init__(ids, paths)
        self.name, self.split = name, split
        self.labels = _checked(name, split, labels, task)
        self.tasks = {"label": task}

    def item(self, index: int) -> Item:
        return Item(self.ids[within(index, len(self))], (), {"label": self.labels[index]})


class LabelledArrays(Dataset):
    """Images of one size in a file of pixels. Ids are `<split>/<number>`.

    A copy that is sent to a worker does not carry the pixels along: it reads the files again when first asked.
    """

    kind = "classification"

    def __init__(self, name: str, split: str, *, files: Sequence[Path], reader: Reader, task: Task) -> None:
        self.name, self.split, self.files, self.reader = name, split, tuple(files), reader
        self._pixels: np.ndarray | None = None
        self._pixels, labels = reader(self.files)
        if len(self._pixels) != len(labels):
            raise StructureError(
                f"{self.files[0]} has {len(self._pixels)} images and {len(labels)} labels: one of the files is of "
                "another set. Get them again."
            )
        self.labels = _checked(name, split, labels.tolist(), task)
        self.tasks = {"label": task}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pixels": None}

    def __len__(self) -> int:
        return len(self.labels)

    def item(self, index: int) -> Item:
        return Item(f"{self.split}/{within(index, len(self)):06d}", (), {"label": self.labels[index]})

    def image(self, index: int) -> Image.Image:
        from PIL import Image

        return Image.fromarray(self._image(index)).convert("RGB")

    def payload(self, index: int) -> bytes:
        """The shape and the pixels: there is no file of the image's own."""
        image = self._image(index)
        return f"{image.shape}".encode() + image.tobytes()

    def stamp(self, index: int) -> str:
        return ",".join(stamp(str(file)) for file in self.files)

    def _image(self, index: int) -> np.ndarray:
        if self._pixels is None:
            self._pixels = self.reader(self.files)[0]
        image: np.ndarray = self._pixels[within(index, len(self))]
        return image


def _checked(name: str, split: str, labels: Sequence[int], task: Task) -> tuple[int, ...]:
    if not len(labels):
        raise StructureError(f"{name} split {split} has 0 images; a dataset has 1 or more.")
    low, high = min(labels), max(labels)
    if low < 0 or (task.classes and high >= len(task.classes)):
        raise StructureError(
            f"{name} split {split} has labels from {low} to {high}, and {task.source} names {len(task.classes)} "
            "classes. Labels would point to no name. Get the files again."
        )
    return tuple(int(label) for label in labels)
