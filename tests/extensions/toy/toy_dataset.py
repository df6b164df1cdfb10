"""A dataset kind of another package: `stripes:N`, images of one to eight stripes in one of four colours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from structure.pipeline.datasets.dataset import Dataset, Item, Task
from structure.pipeline.datasets.kind import DatasetKind

COLOURS = ("red", "green", "blue", "black")


class Stripes(Dataset):
    """Sample i has `i % 8 + 1` stripes, its colour and a shade of the ground follow from i."""

    name = "stripes"
    kind = "retrieval"
    tasks: Mapping[str, Task] = {"label": Task(COLOURS, ("{c} stripes",))}

    def __init__(self, count: int, split: str) -> None:
        self.count, self.split = count, split

    def __len__(self) -> int:
        return self.count

    def item(self, index: int) -> Item:
        stripes, colour = index % 8 + 1, index // 8 % 4
        caption = f"{stripes} {COLOURS[colour]} stripes on ground {index}"
        return Item(f"{self.split}-{index}", (caption,), {"label": colour})

    def image(self, index: int) -> Image.Image:
        stripes, colour = index % 8 + 1, index // 8 % 4
        image = Image.new("RGB", (32, 32), (255 - index % 100, 255 - index % 90, 255 - index % 80))
        for stripe in range(stripes):
            image.paste(COLOURS[colour], (4 * stripe, 0, 4 * stripe + 2, 32))
        return image

    def payload(self, index: int) -> bytes:
        return self.image(index).tobytes()


class StripesKind(DatasetKind):
    """`stripes:N`."""

    form = "stripes:100"
    summary = "generated stripes"
    how = "it is generated"
    splits = ("train", "test")
    default_split = "train"

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> Stripes:
        return Stripes(int(argument), split or self.default_split)
