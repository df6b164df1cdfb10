"""Augmented views of an image: a random crop and a mirror image, always the same for the same sample and view."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

AUGMENTATION: dict[str, Any] = {
    "kind": "crop-flip",
    "version": 1,
    "area": [0.4, 1.0],
    "ratio": [3 / 4, 4 / 3],
    "flip": 0.5,
}
"""What is drawn, for the fingerprint: the crop's share of the area and its width over its height as the random resized
crop of torchvision draws them (uniform, log-uniform), and how often it is mirrored. Resizing is the encoder's own."""

_TRIES = 10


def augmented(picture: Image.Image, *, item: str, view: int) -> Image.Image:
    """View `view` (from 1) of the sample's image. The draw depends on sample and view alone, not on order or worker.

    A mirror image turns left into right: captions that speak of sides describe it no longer.
    """
    seed = hashlib.sha256(f"{AUGMENTATION['version']}\0{view}\0{item}".encode("utf-8", "surrogatepass")).digest()
    draws = np.random.default_rng(int.from_bytes(seed[:16], "little"))
    cropped = picture.crop(crop_box(picture.size, draws))
    if draws.random() < AUGMENTATION["flip"]:
        from PIL.Image import Transpose

        cropped = cropped.transpose(Transpose.FLIP_LEFT_RIGHT)
    return cropped


def crop_box(size: tuple[int, int], draws: np.random.Generator) -> tuple[int, int, int, int]:
    """(left, upper, right, lower) of a random crop of an image of `size` (width, height); the whole image where ten
    draws in a row do not fit into it."""
    width, height = size
    for _ in range(_TRIES):
        area = width * height * draws.uniform(*AUGMENTATION["area"])
        ratio = math.exp(draws.uniform(*np.log(AUGMENTATION["ratio"])))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            left, upper = (int(draws.integers(0, room + 1)) for room in (width - across, height - down))
            return left, upper, left + across, upper + down
    return 0, 0, width, height
