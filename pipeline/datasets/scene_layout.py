"""What is in a scene, before it is drawn or put to words, and which compositions belong to which split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from structure.pipeline.datasets.scene_draws import Draws

SIDE = 64
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "star", "ring", "heart")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
TEXTURES = ("solid", "striped", "dotted", "checked")
SIZES = ("small", "medium", "large")
RELATIONS = ("left of", "right of", "above", "below")
TONES = ("dark", "grey", "light")
GROUNDS = ("plain", "shaded", "tiled", "speckled")
COUNTS = (1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4)
RADII = {"small": (7, 8), "medium": (10, 11), "large": (14, 15)}

Split = Literal["train", "val", "test", "pretrain"]
SPLITS: tuple[Split, ...] = ("train", "val", "test", "pretrain")

# Every shape and every colour occurs in every split, but a pair of them either in training or in the test: the band of
# a pair runs through all eight values for a fixed shape, and for a fixed colour.
BANDS: dict[Split, frozenset[int]] = {
    "train": frozenset({0, 1, 3, 4, 6, 7}),
    "val": frozenset({0, 1, 3, 4, 6, 7}),
    "test": frozenset({2, 5}),
    "pretrain": frozenset(range(8)),
}
# Two shapes may stand in a relation either in training or in the test, by their distance around the circle of shapes.
DISTANCES: dict[Split, frozenset[int]] = {
    "train": frozenset({0, 2, 3}),
    "val": frozenset({0, 2, 3}),
    "test": frozenset({1, 4}),
    "pretrain": frozenset(range(5)),
}


@dataclass(frozen=True)
class Thing:
    """One object: words, the centre `(x, y)` and the radius in pixels, tilt and phase of its texture in small steps."""

    shape: str
    colour: str
    texture: str
    size: str
    x: int
    y: int
    radius: int
    tilt: int
    phase: int


@dataclass(frozen=True)
class Scene:
    """One to four things that do not touch, the largest first, on a ground of a tone."""

    things: tuple[Thing, ...]
    tone: str
    ground: str

    @property
    def main(self) -> Thing | None:
        """The only thing, or the one of a larger size than any other (two pixels of radius or more); else None."""
        is_largest = len(self.things) == 1 or self.things[0].size != self.things[1].size
        return self.things[0] if is_largest else None

    @property
    def relation(self) -> str | None:
        """Where the first of exactly two things is, seen from the second; None for other counts."""
        return relation(*self.things) if len(self.things) == 2 else None


def relation(one: Thing, other: Thing) -> str:
    """Which of `RELATIONS` holds for `one` seen from `other`: the axis along which they are further apart."""
    across, down = one.x - other.x, one.y - other.y
    if abs(across) > abs(down):
        return "left of" if across < 0 else "right of"
    return "above" if down < 0 else "below"


def composes(split: Split, shape: str, colour: str) -> bool:
    """Whether things of this shape and colour occur in `split`."""
    return (COLOURS.index(colour) + 3 * SHAPES.index(shape)) % len(SHAPES) in BANDS[split]


def relates(split: Split, shape: str, other: str) -> bool:
    """Whether two things of these shapes may make a scene of two, and so stand in a relation, in `split`."""
    apart = abs(SHAPES.index(shape) - SHAPES.index(other))
    return min(apart, len(SHAPES) - apart) in DISTANCES[split]


COMPOSITIONS: dict[Split, tuple[tuple[str, str], ...]] = {
    split: tuple((shape, colour) for shape in SHAPES for colour in COLOURS if composes(split, shape, colour))
    for split in SPLITS
}


def compose(draws: Draws, split: Split) -> Scene:
    """Draw a scene whose compositions belong to `split`."""
    count = draws.pick(COUNTS)
    kinds = _kinds(draws, split, count)
    while (things := _place(draws, kinds)) is None:
        pass  # no room for the sizes that were drawn: draw others
    things.sort(key=lambda thing: -thing.radius)
    return Scene(things=tuple(things), tone=draws.pick(TONES), ground=draws.pick(GROUNDS))


def _kinds(draws: Draws, split: Split, count: int) -> list[tuple[str, str]]:
    """`count` different (shape, colour) pairs of the split; two of them may relate."""
    kinds: list[tuple[str, str]] = []
    while len(kinds) < count:
        kind = draws.pick(COMPOSITIONS[split])
        if kind not in kinds and not (count == 2 and kinds and not relates(split, kinds[0][0], kind[0])):
            kinds.append(kind)
    return kinds


def _place(draws: Draws, kinds: list[tuple[str, str]]) -> list[Thing] | None:
    """Put the things where they do not touch, two of them beside or above one another; None where there is no room."""
    level = draws.below(2) == 0
    things: list[Thing] = []
    for shape, colour in kinds:
        size = draws.pick(SIZES)
        radius = draws.between(*RADII[size])
        for _ in range(12):
            x, y = (draws.between(radius + 1, SIDE - radius - 2) for _ in "xy")
            if all(_are_apart(x, y, radius, other) for other in things) and (
                len(kinds) != 2 or not things or _is_aligned(x, y, things[0], level=level)
            ):
                break
        else:
            return None
        texture = draws.pick(TEXTURES)
        things.append(Thing(shape, colour, texture, size, x, y, radius, draws.between(-1, 1), draws.below(6)))
    return things


def _are_apart(x: int, y: int, radius: int, other: Thing) -> bool:
    """Whether the squares around two things leave a pixel or more between them."""
    return max(abs(x - other.x), abs(y - other.y)) > radius + other.radius + 1


def _is_aligned(x: int, y: int, other: Thing, *, level: bool) -> bool:
    """Whether a thing at `(x, y)` is plainly beside (`level`) or plainly above or below `other`."""
    along, off = (x - other.x, y - other.y) if level else (y - other.y, x - other.x)
    return 2 * abs(off) <= abs(along)
