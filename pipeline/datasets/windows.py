"""Square windows over images of any shape, so that patch tokens of a square encoder cover every pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from structure.pipeline.datasets.dataset import Dataset, Item, Task, within
from structure.store.errors import BadSampleError

if TYPE_CHECKING:
    from PIL import Image

Mode = Literal["square", "sliding"]


@dataclass(frozen=True)
class Frame:
    """What an encoder's preprocessing shows of an image: it resizes to `outer` and crops the central `side`.

    Both are (height, width) in pixels. An image of `outer` whose middle holds a window of `side` is passed on as that
    window, unresized: so the same preprocessing that made all other features reads windows exactly.
    """

    side: tuple[int, int]
    outer: tuple[int, int]

    @property
    def margin(self) -> tuple[int, int]:
        """(top, left) pixels that the crop removes."""
        return (self.outer[0] - self.side[0]) // 2, (self.outer[1] - self.side[1]) // 2


@dataclass(frozen=True)
class Windows:
    """An image resized to `size` (height, width), and the (top, left) corners of windows of `side` in it."""

    size: tuple[int, int]
    side: tuple[int, int]
    corners: tuple[tuple[int, int], ...]


def plan_windows(size: tuple[int, int], *, side: tuple[int, int], mode: Mode) -> Windows:
    """Windows of `side` (height, width) over an image of `size`.

    `square`: the whole image, resized to one window whatever its shape. `sliding`: resized so that its shorter side
    is twice the window's, windows every half window; the last of a row or column ends at the edge.
    """
    if mode == "square":
        return Windows(side, side, ((0, 0),))
    scale = max(2 * side[0] / size[0], 2 * side[1] / size[1]) if min(size) else 1.0
    resized = (max(side[0], round(size[0] * scale)), max(side[1], round(size[1] * scale)))
    rows, columns = (_starts(resized[axis], side[axis]) for axis in (0, 1))
    return Windows(resized, side, tuple((top, left) for top in rows for left in columns))


def _starts(length: int, window: int) -> list[int]:
    count = 1 + math.ceil(max(0, length - window) / max(1, window // 2))
    return [min(index * max(1, window // 2), length - window) for index in range(count)]


class WindowedImages(Dataset):
    """One sample a window, in the order of the images; its image is framed for the encoder (`Frame`).

    `of` is (windows,) int64: the image each belongs to; `plans` has one entry an image. An image that cannot be
    read has one window, whose reading says why.
    """

    kind = "segmentation"
    tasks: Mapping[str, Task] = {}

    def __init__(self, images: Dataset, frame: Frame, mode: Mode) -> None:
        self.images, self.frame, self.mode, self.pixels = images, frame, mode, images.pixels
        shape = "x".join(map(str, frame.side))
        self.name, self.split = f"{images.name}.{mode}-{shape}", images.split
        # A square window is the same for every image, so that none has to be opened for its size.
        shapes = ((1, 1) if mode == "square" else _shape(images, index) for index in range(len(images)))
        self.plans = tuple(plan_windows(shape, side=frame.side, mode=mode) for shape in shapes)
        counts = [len(plan.corners) for plan in self.plans]
        self.of = np.repeat(np.arange(len(counts)), counts)
        self._first = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return len(self.of)

    def windows_of(self, image: int) -> range:
        """The samples that are windows of this image."""
        return range(int(self._first[image]), int(self._first[image + 1]))

    def item(self, index: int) -> Item:
        top, left = self._corner(index)
        return Item(f"{self._id(index)}@{top},{left}")

    def image(self, index: int) -> Image.Image:
        from PIL import Image

        top, left = self._corner(index)
        plan = self.plans[self.of[index]]
        image = self.images.image(int(self.of[index]))
        resized = image.resize(plan.size[::-1], Image.Resampling.BICUBIC)
        window = resized.crop((left, top, left + plan.side[1], top + plan.side[0]))
        down, right = self.frame.margin
        framed = Image.new("RGB", self.frame.outer[::-1])
        framed.paste(window, (right, down))
        return framed

    def payload(self, index: int) -> bytes:
        key = f"{self._corner(index)} of {self.plans[self.of[index]].size} in {self.frame} bicubic\n"
        return key.encode() + self.images.payload(int(self.of[index]))

    def stamp(self, index: int) -> str:
        stamp = self.images.stamp(int(self.of[index]))
        return stamp and f"{stamp} {self.frame} {self._corner(index)}"

    def _corner(self, index: int) -> tuple[int, int]:
        image = int(self.of[within(index, len(self))])
        return self.plans[image].corners[index - int(self._first[image])]

    def _id(self, index: int) -> str:
        try:
            return self.images.item(int(self.of[index])).id
        except BadSampleError as error:
            return error.item


def _shape(images: Dataset, index: int) -> tuple[int, int]:
    """(height, width), from the header where the payload is an image file; (1, 1) of what cannot be read."""
    from structure.pipeline.datasets.decode_image import size  # Pillow: only where an image is read

    try:
        found = size(images.payload(index)) or images.image(index).size
    except BadSampleError:
        return (1, 1)
    return found[::-1]
