"""Drawing a scene: integer arithmetic on pixel centres, so that images are equal everywhere and masks are exact."""

from __future__ import annotations

from functools import cache

import numpy as np

from structure.pipeline.datasets.scene_draws import Draws
from structure.pipeline.datasets.scene_layout import SHAPES, SIDE, Scene, Thing

UNIT = 1000
# Corners in thousandths of the radius, x to the right and y down.
CORNERS: dict[str, tuple[tuple[int, int], ...]] = {
    "square": ((-820, -820), (820, -820), (820, 820), (-820, 820)),
    "triangle": ((0, -960), (980, 820), (-980, 820)),
    "diamond": ((0, -1000), (680, 0), (0, 1000), (-680, 0)),
    "cross": (
        *((-300, -960), (300, -960), (300, -300), (960, -300), (960, 300), (300, 300)),
        *((300, 960), (-300, 960), (-300, 300), (-960, 300), (-960, -300), (-300, -300)),
    ),
    "star": (
        *((0, -1000), (235, -324), (951, -309), (380, 124), (588, 809)),
        *((0, 400), (-588, 809), (-380, 124), (-951, -309), (-235, -324)),
    ),
    "heart": ((-940, -180), (940, -180), (0, 980)),
}
# (centre x, centre y, outer radius, inner radius) in thousandths of the radius.
DISCS: dict[str, tuple[tuple[int, int, int, int], ...]] = {
    "circle": ((0, 0, 940, 0),),
    "ring": ((0, 0, 1000, 560),),
    "heart": ((-460, -360, 520, 0), (460, -360, 520, 0)),
}
TILTS = {-1: (251, -50), 0: (256, 0), 1: (251, 50)}  # cosine and sine of 11 degrees, in 1/256
PAINT: dict[str, tuple[int, int, int]] = {
    "red": (206, 38, 42),
    "orange": (236, 130, 28),
    "yellow": (236, 216, 56),
    "green": (52, 158, 62),
    "cyan": (64, 196, 206),
    "blue": (44, 78, 206),
    "purple": (128, 58, 172),
    "pink": (240, 142, 188),
}
TONE = {"dark": 52, "grey": 120, "light": 204}
ROWS, COLUMNS = np.mgrid[0:SIDE, 0:SIDE].astype(np.int32)


@cache
def outline(shape: str, radius: int, tilt: int) -> np.ndarray:
    """`(2 radius + 1, 2 radius + 1)` bool: the pixels whose centre lies in the shape."""
    cosine, sine = TILTS[tilt]
    down, across = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.int64)
    x, y = (across * cosine + down * sine) * UNIT, (down * cosine - across * sine) * UNIT
    scale = radius * 256
    inside = (
        _in_polygon(x, y, np.array(CORNERS[shape], np.int64) * scale) if shape in CORNERS else np.zeros(x.shape, bool)
    )
    for disc_x, disc_y, outer, inner in DISCS.get(shape, ()):
        square = (x - disc_x * scale) ** 2 + (y - disc_y * scale) ** 2
        inside |= (square <= (outer * scale) ** 2) & (square >= (inner * scale) ** 2)
    return inside


def _in_polygon(x: np.ndarray, y: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Even-odd rule, exact in integers: how many edges a ray to the right crosses."""
    inside = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crosses = (y0 > y) != (y1 > y)
        side = (x - x0) * (y1 - y0) - (x1 - x0) * (y - y0)
        inside ^= crosses & ((side < 0) == (y1 > y0))
    return inside


def window(thing: Thing) -> tuple[slice, slice]:
    """Rows and columns of the square around a thing."""
    return (
        slice(thing.y - thing.radius, thing.y + thing.radius + 1),
        slice(thing.x - thing.radius, thing.x + thing.radius + 1),
    )


def draw_mask(scene: Scene) -> np.ndarray:
    """`(SIDE, SIDE)` int32: 0 for the ground, 1 + index in `SHAPES` on the pixels of a thing."""
    mask = np.zeros((SIDE, SIDE), np.int32)
    for thing in scene.things:
        mask[window(thing)][outline(thing.shape, thing.radius, thing.tilt)] = 1 + SHAPES.index(thing.shape)
    return mask


def draw(scene: Scene, draws: Draws) -> np.ndarray:
    """`(SIDE, SIDE, 3)` uint8, RGB: ground, clutter, things and grain, all from `draws`."""
    canvas = _ground(scene, draws)
    _clutter(canvas, draws)
    for thing in scene.things:
        _paint(canvas[window(thing)], thing, draws)
    grain = draws.bytes(canvas.size).reshape(canvas.shape).astype(np.int16)
    return np.clip(canvas + (grain % 25) - 12, 0, 255).astype(np.uint8)


def _ground(scene: Scene, draws: Draws) -> np.ndarray:
    """`(SIDE, SIDE, 3)` int16: a muted colour, shaded, tiled or speckled."""
    base = np.array([TONE[scene.tone] + draws.between(-22, 22) for _ in "rgb"], np.int16)
    if scene.ground == "plain":
        return np.tile(base, (SIDE, SIDE, 1))
    if scene.ground == "shaded":
        right, down = draws.between(-28, 28), draws.pick((-28, 28))
        relief = (right * (2 * COLUMNS - SIDE) + down * (2 * ROWS - SIDE)) // SIDE
    elif scene.ground == "tiled":
        side, step = draws.between(4, 9), draws.between(14, 24)
        relief = ((ROWS // side + COLUMNS // side) % 2) * step - step // 2
    else:
        relief = (draws.bytes(SIDE * SIDE).reshape(SIDE, SIDE) % 12 == 0) * draws.pick((-48, 48))
    ground: np.ndarray = base + relief[..., None].astype(np.int16)
    return ground


def _clutter(canvas: np.ndarray, draws: Draws) -> None:
    """Up to four faint bars that are no thing of the scene."""
    for _ in range(draws.below(5)):
        length, width, step = draws.between(8, 40), draws.between(1, 2), draws.pick((-30, -20, 20, 30))
        top, left = draws.below(SIDE), draws.below(SIDE)
        if draws.below(2):
            length, width = width, length
        canvas[top : top + length, left : left + width] += np.int16(step)


def _paint(patch: np.ndarray, thing: Thing, draws: Draws) -> None:
    """Colour the thing's pixels of its window: paint that varies a little, with the texture in a second shade."""
    brightness = draws.between(84, 108)
    paint = np.array([value * brightness // 100 + draws.between(-12, 12) for value in PAINT[thing.colour]], np.int16)
    shade = paint * 2 // 3 if draws.below(2) else (2 * paint + 255) // 3
    inside = outline(thing.shape, thing.radius, thing.tilt)
    second = _pattern(thing, inside.shape[0]) & inside
    patch[inside] = paint
    patch[second] = shade


def _pattern(thing: Thing, side: int) -> np.ndarray:
    """`(side, side)` bool: where the second shade of the texture goes."""
    down, across = ROWS[:side, :side], COLUMNS[:side, :side]
    second: np.ndarray = np.zeros((side, side), bool)
    if thing.texture == "striped":
        along = (down, across, down + across)[thing.phase % 3]
        second = (along + thing.phase) % 5 < 2
    elif thing.texture == "dotted":
        second = ((down + thing.phase) % 4 < 2) & ((across + thing.phase) % 4 < 2)
    elif thing.texture == "checked":
        second = ((down + thing.phase) // 4 + across // 4) % 2 == 0
    return second
