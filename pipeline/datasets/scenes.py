"""The generated dataset `scenes`: one to four things on a ground, five captions, a mask, and labels for four tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from structure.pipeline.datasets.dataset import Dataset, Item, Task, within
from structure.pipeline.datasets.kind import DatasetKind, Listing
from structure.pipeline.datasets.scene_captions import describe
from structure.pipeline.datasets.scene_drawing import draw, draw_mask
from structure.pipeline.datasets.scene_draws import Draws
from structure.pipeline.datasets.scene_layout import COLOURS, RELATIONS, SHAPES, Scene, Split, compose
from structure.store.errors import StructureError, unknown

if TYPE_CHECKING:
    from PIL import Image

RENDERER = 1
"""Raise it with any change to what is drawn or said: it is part of every content digest and of every scene's key."""

DEFAULT_COUNTS: Mapping[Split, int] = {"train": 4000, "val": 500, "test": 1000, "pretrain": 40000}

SOURCE = "the generated dataset scenes"
TASKS: Mapping[str, Task] = {
    "shape": Task(
        SHAPES, ("the image shows a {c}", "there is a large {c}", "one object on a plain background: a {c}"), SOURCE
    ),
    "colour": Task(
        COLOURS, ("a {c} object", "the image shows a {c} shape", "one thing on a plain background: a {c} shape"), SOURCE
    ),
    "count": Task(
        ("one object", "two objects", "three objects", "four objects"),
        ("{c}", "there is a picture of {c}", "{c} on a plain background"),
        SOURCE,
    ),
    "relation": Task(
        RELATIONS,
        ("a large object {c} a small object", "two things on a plain background: a big shape {c} a little shape"),
        SOURCE,
    ),
}


@lru_cache(maxsize=4096)
def _composed(key: str, split: Split) -> Scene:
    """A scene is asked for by its captions, its pixels and its mask; composing it takes longer than any of them."""
    return compose(Draws(key), split)


class Scenes(Dataset):
    """Scene `index` of a split is a pure function of `(RENDERER, seed, split, index)`: `count` only cuts the list.

    Images are 64 x 64 RGB, drawn in integer arithmetic, so the same on every machine and with every Pillow; that is
    why `payload` may be the key of the scene instead of its pixels.

    `test` has none of the pairs of shape and colour of `train`, nor of the pairs of shapes that stand in a relation
    (scenes of two). `val` has other scenes of `train`'s compositions, so that `test` against `val` is the price of new
    compositions. `pretrain` has every composition: it is for pre-training an encoder on images alone or on captions
    alone, never for pairs.

    A scene has a label for a task only where the answer is well posed: `shape` and `colour` of the only thing or of
    the one that is larger in size than all others; `count` always; `relation` of the larger of two things to the other.
    `mask` has 0 for the ground and 1 + index in `SHAPES` elsewhere; `mask_classes` names them.

    Raises `StructureError` for an unknown split and for a count under one.
    """

    kind = "retrieval"
    tasks = TASKS
    mask_classes: tuple[str, ...] = ("background", *SHAPES)

    def __init__(self, split: str = "train", count: int | None = None, seed: int = 0) -> None:
        if split not in get_args(Split):
            raise unknown("split of scenes", split, get_args(Split))
        if count is not None and count < 1:
            raise StructureError(f"scenes:{count} asks for {count} scenes; a split has 1 or more. Type scenes:1000.")
        self.name = "scenes" if seed == 0 else f"scenes-seed{seed}"
        self.split: Split = split  # type: ignore[assignment, mutable-override]
        self.seed = seed
        self.count = DEFAULT_COUNTS[self.split] if count is None else count
        self.formula = f"scenes renderer={RENDERER} seed={self.seed} split={self.split}"

    def __len__(self) -> int:
        return self.count

    def scene(self, index: int) -> Scene:
        """What is in scene `index`."""
        return _composed(self._key(index, "layout"), self.split)

    def item(self, index: int) -> Item:
        """Id `<split>-<index>`, five captions from full to terse, and the labels that are well posed."""
        scene = self.scene(index)
        labels = {"count": len(scene.things) - 1}
        if scene.main is not None:
            labels["shape"] = SHAPES.index(scene.main.shape)
            labels["colour"] = COLOURS.index(scene.main.colour)
            if scene.relation is not None:
                labels["relation"] = RELATIONS.index(scene.relation)
        captions = describe(scene, Draws(self._key(index, "words")))
        return Item(f"{self.split}-{index:06d}", captions, labels)

    def image(self, index: int) -> Image.Image:
        """The scene drawn, 64 x 64 RGB."""
        from PIL import Image

        return Image.fromarray(draw(self.scene(index), Draws(self._key(index, "pixels"))))

    def payload(self, index: int) -> bytes:
        """The scene's key, which determines its pixels."""
        return self._key(index, "pixels").encode()

    def mask(self, index: int) -> np.ndarray:
        """`(64, 64)` int32 class of every pixel in `mask_classes`: exact, not a guess from colours."""
        return draw_mask(self.scene(index))

    def _key(self, index: int, part: str) -> str:
        index = within(index, self.count)
        return f"{self.formula} index={index} {part}"


class ScenesKind(DatasetKind):
    """`scenes` or `scenes:N`."""

    form = "scenes[:N]"
    argument = "optional"
    summary = "generated images of coloured shapes with 5 captions, masks and labels for 4 tasks"
    how = "nothing to get; it is drawn from a seed"
    splits = get_args(Split)
    default_split = "train"

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> Scenes:
        if argument and not re.fullmatch(r"[0-9]{1,9}", argument):
            raise StructureError(f"Dataset 'scenes:{argument}': N is a whole number of scenes. Type scenes:1000.")
        return Scenes(split=split or self.default_split, count=int(argument) if argument else None, seed=seed)

    def listings(self, data_root: Path) -> list[Listing]:
        return [replace(listing, present=True) for listing in super().listings(data_root)]
