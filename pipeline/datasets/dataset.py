"""What every dataset is: an ordered, countable source of samples with stable ids and content digests; no tensors."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from shlex import quote
from typing import TYPE_CHECKING

from structure.pipeline.datasets.pixel_meaning import AS_THE_FILE_SAYS, MAY_BE_UNCLEAR, PixelMeaning, with_name
from structure.store.errors import StructureError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


PROMPTS = "prompts"
"""The kind of samples that are prompts, which no dataset has: they are no data to rank or train on."""


@dataclass(frozen=True)
class Item:
    """One thing that has an image (or an audio clip), the texts that describe it and its labels.

    `labels` maps a task to a class index; the only task of an ordinary classification set is called `label`.
    A multi-label task maps to a tuple of class indices.
    """

    id: str
    captions: tuple[str, ...] = ()
    labels: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class AudioClip:
    """A sound: `samples` (time,) float32 in [-1, 1], one channel, `rate` samples a second."""

    samples: np.ndarray
    rate: int


@dataclass(frozen=True)
class Task:
    """A zero-shot classification task of a dataset: class names, and the prompt templates where the data bring them.

    Empty `classes` mean that the data bring labels without names; empty `templates` (they hold `{c}` where the class
    name goes) that they bring none: either is then taken from the prompt set.
    `source` says where names and templates were read, for the record.
    """

    classes: tuple[str, ...]
    templates: tuple[str, ...] = ()
    source: str = ""


class Dataset(ABC):
    """Samples in a fixed order. Instances are picklable: image workers carry a copy each.

    `name` is the dataset's name in the store (letters, digits, `.`, `_`, `-`); `split` names the part, resolved: what
    was asked for as `train` of COCO is called `train2014` here.
    `tasks` maps a task's name to its classes; it is empty for a dataset without labels.
    `kind` says what evaluation fits by default: "classification", "multilabel", "retrieval", "selection" (of captions
    within small groups of samples), "segmentation"; "images" for images without captions and labels.
    `mask_classes` names the values of `mask`; empty for a dataset without masks.
    `splits` are the parts that the data themselves are divided into, where their names are theirs to choose.
    `spec` is the name by which it was opened, "" where it was not opened by one.
    `pixels` says what the image files leave open, as the dataset's name does; `checks_pixels` whether `digest` refuses
    files of which nothing says it.
    `formula` determines every sample of generated data, with its number; "" where samples are read from files.
    `notes` are sentences about what was left out or looks odd when the dataset was opened, to be shown to the user.

    Whatever concerns the dataset as a whole (no such column, a repeated id) is a `StructureError` when it is opened.
    Whatever concerns one sample (no caption, an image that does not decode) is a `BadSampleError` when that sample is
    read, so that a run may skip and count it.
    """

    name: str
    split: str
    tasks: Mapping[str, Task]
    kind: str
    mask_classes: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    spec: str = ""
    pixels: PixelMeaning = AS_THE_FILE_SAYS
    checks_pixels: bool = True
    formula: str = ""

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def item(self, index: int) -> Item:
        """Sample `index` in `[0, len(self))`: texts and labels only, cheap, no image is read.

        Raises `BadSampleError` where the sample's texts cannot be used, `IndexError` beyond the end.
        """

    @abstractmethod
    def image(self, index: int) -> Image.Image:
        """The sample's image as an RGB PIL image. Raises `BadSampleError` where it cannot be read, and
        `StructureError` in a dataset of audio clips."""

    @abstractmethod
    def payload(self, index: int) -> bytes:
        """The bytes that determine the image (the file's content), for the content digest."""

    def audio(self, index: int) -> AudioClip:
        """The sample's audio clip; only for datasets of audio clips. Raises `BadSampleError` where it cannot be
        read."""
        raise StructureError(f"{self.name} has images and no audio clips: an audio encoder cannot read it.")

    def frames(self, index: int, count: int) -> Iterator[Image.Image]:
        """`count` frames of the sample's video, evenly spaced in time, as `decode_frames` reads them; of a sample that
        is an image, the image alone. Raises `BadSampleError` where they cannot be read."""
        from structure.pipeline.datasets.decode_video import decode_frames, is_video

        data = self.payload(index)
        if not is_video(data):
            return iter([self.image(index)])
        return decode_frames(data, count, item=self.item(index).id)

    @property
    def videos(self) -> int:
        """How many samples are videos by the endings of their file names; 0 where that is not known."""
        return 0

    def stamp(self, index: int) -> str:
        """A cheap mark that changes when the image may have changed (size and mtime); "" where there is none."""
        return ""

    def mask(self, index: int) -> np.ndarray:
        """The sample's `(height, width)` label mask, int32, 255 = ignore; only for segmentation datasets."""
        raise TypeError(f"dataset {self.name} has no masks")

    def mask_stamp(self, index: int) -> str:
        """As `stamp`, of the sample's mask and of what its values mean; "" where there is none."""
        return ""

    def digest(self, index: int) -> str:
        """Hex SHA-256 of `payload(index)`.

        Here every image file is read once, before anything is extracted. Raises `StructureError` where one leaves open
        what its pixels mean and `pixels` does not say it: the whole set waits for an answer, for a guess would spoil
        every number.
        """
        data = self.payload(index)
        if self.checks_pixels and data.startswith(MAY_BE_UNCLEAR):
            self._require_clear(index, data)
        return hashlib.sha256(data).hexdigest()

    def _require_clear(self, index: int, data: bytes) -> None:
        from structure.pipeline.datasets.decode_image import unclear_pixels  # Pillow

        error = unclear_pixels(data, item=str(index), source="", pixels=self.pixels)
        if error is not None:
            raise StructureError(
                f"{self.name}: sample {self.item(index).id}: {error.fact}. {with_name(error.remedy, self.spec)}. "
                f"`structure datasets check {quote(self.spec)}` says it of all samples."
            )


def within(index: int, count: int) -> int:
    """`index`, checked. Negative ones are refused: `item(-1)` is a mistake in counting, not the last sample."""
    if not 0 <= index < count:
        raise IndexError(f"sample {index} of {count}")
    return index
