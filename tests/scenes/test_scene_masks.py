"""A mask says where every thing is: by area, by place, and against the colours of the picture."""

from __future__ import annotations

import math

import numpy as np
import pytest

from structure.pipeline.datasets.scene_drawing import outline
from structure.pipeline.datasets.scene_layout import SHAPES
from structure.pipeline.datasets.scenes import Scenes

MANY = 200
# Areas for radius 1, from geometry: polygons by hand, discs by pi.
AREAS = {
    "circle": math.pi * 0.94**2,
    "square": 1.64**2,
    "triangle": 0.5 * 1.96 * 1.78,
    "diamond": 0.5 * 1.36 * 2,
    "cross": 2 * 1.92 * 0.6 - 0.6**2,
    "ring": math.pi * (1 - 0.56**2),
}


@pytest.mark.parametrize("shape", AREAS)
@pytest.mark.parametrize("tilt", [-1, 0, 1])
def test_outlines_have_the_area_of_their_shape(shape: str, tilt: int) -> None:
    assert outline(shape, 60, tilt).sum() == pytest.approx(AREAS[shape] * 60**2, rel=0.02)


def test_upright_outlines_are_mirror_images_where_their_shape_is() -> None:
    for shape in SHAPES:
        drawn = outline(shape, 14, 0)
        assert (drawn != drawn[:, ::-1]).mean() < 0.02


def test_every_thing_is_where_the_mask_says() -> None:
    dataset = Scenes("test", MANY)
    for index in range(MANY):
        scene, mask = dataset.scene(index), dataset.mask(index)
        assert mask.shape == (64, 64)
        assert mask.dtype == np.int32
        assert {dataset.mask_classes[value] for value in np.unique(mask)} == {
            "background",
            *(thing.shape for thing in scene.things),
        }
        claimed = np.zeros_like(mask, dtype=bool)
        for thing in scene.things:
            rows = slice(thing.y - thing.radius, thing.y + thing.radius + 1)
            columns = slice(thing.x - thing.radius, thing.x + thing.radius + 1)
            here = mask[rows, columns]
            assert set(np.unique(here)) <= {0, dataset.mask_classes.index(thing.shape)}
            assert 0.2 < (here > 0).mean() < 0.85
            claimed[rows, columns] = True
        assert not mask[~claimed].any()


def test_masked_pixels_have_the_colour_that_is_named() -> None:
    """Solid things: the mean of the pixels under the mask is nearest to the colour of that name."""
    paints = {
        "red": (205, 40, 40),
        "orange": (235, 130, 30),
        "yellow": (235, 215, 55),
        "green": (50, 155, 60),
        "cyan": (65, 195, 205),
        "blue": (45, 80, 205),
        "purple": (130, 60, 170),
        "pink": (240, 140, 190),
    }
    dataset = Scenes("train", MANY)
    checked = 0
    for index in range(MANY):
        scene, mask, pixels = dataset.scene(index), dataset.mask(index), np.asarray(dataset.image(index), float)
        for thing in scene.things:
            if thing.texture == "solid":
                rows = slice(thing.y - thing.radius, thing.y + thing.radius + 1)
                columns = slice(thing.x - thing.radius, thing.x + thing.radius + 1)
                mean = pixels[rows, columns][mask[rows, columns] > 0].mean(axis=0)
                nearest = min(paints, key=lambda name: math.dist(paints[name], mean))
                assert nearest == thing.colour, (index, thing, mean)
                checked += 1
    assert checked > 50
