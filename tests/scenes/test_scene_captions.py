"""Captions are read back with a grammar of their own and held against the scene: every stated fact is true."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import pytest

from structure.pipeline.datasets.scene_layout import Scene, Thing
from structure.pipeline.datasets.scenes import Scenes

SYNONYMS = {
    "disc": "circle",
    "box": "square",
    "rhombus": "diamond",
    "plus": "cross",
    "hoop": "ring",
    "crimson": "red",
    "golden": "yellow",
    "turquoise": "cyan",
    "violet": "purple",
    "little": "small",
    "middling": "medium",
    "big": "large",
    "filled": "solid",
    "stripy": "striped",
    "spotted": "dotted",
    "chequered": "checked",
    "pale": "light",
    "grainy": "speckled",
}
SHAPES = [
    "circle",
    "disc",
    "square",
    "box",
    "triangle",
    "diamond",
    "rhombus",
    "cross",
    "plus",
    "star",
    "ring",
    "hoop",
    "heart",
]
COLOURS = [
    "red",
    "crimson",
    "orange",
    "yellow",
    "golden",
    "green",
    "cyan",
    "turquoise",
    "blue",
    "purple",
    "violet",
    "pink",
]
SIZES = ["small", "little", "medium", "middling", "large", "big"]
TEXTURES = ["solid", "filled", "striped", "stripy", "dotted", "spotted", "checked", "chequered"]
NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4}
RELATIONS = {
    "left of": (-1, 0),
    "to the left of": (-1, 0),
    "right of": (1, 0),
    "to the right of": (1, 0),
    "above": (0, -1),
    "over": (0, -1),
    "below": (0, 1),
    "under": (0, 1),
}
PHRASE = re.compile(
    rf"(?P<number>a|an|two|three|four) (?:(?P<size>{'|'.join(SIZES)}) )?(?:(?P<texture>{'|'.join(TEXTURES)}) )?"
    rf"(?:(?P<colour>{'|'.join(COLOURS)}) )?(?P<shape>{'|'.join(SHAPES)})(?:e?s)?"
    r"(?: (?P<place>at the [a-z]+(?: left| right)?|in the centre))?"
)
OPENING = re.compile(r"^(?:a picture of |an image of |there is |the picture shows )")
COUNTED = re.compile(
    r"^(?P<count>one|two|three|four) (?:object|thing|shape)s? on a (?P<tone>dark|grey|light|pale) "
    r"(?P<ground>plain|shaded|tiled|speckled|grainy) background: "
)
MANY = 400


def plain(word: str | None) -> str | None:
    return SYNONYMS.get(word, word) if word else None


def ninth(thing: Thing) -> str:
    down = "top" if thing.y < 64 / 3 else "bottom" if thing.y >= 128 / 3 else ""
    across = "left" if thing.x < 64 / 3 else "right" if thing.x >= 128 / 3 else ""
    return f"at the {' '.join(filter(None, (down, across)))}" if down or across else "in the centre"


def read(caption: str) -> tuple[list[re.Match[str]], list[str]]:
    """The phrases of a caption and what stands between them; nothing may be left over."""
    body = COUNTED.sub("", OPENING.sub("", caption))
    phrases = list(PHRASE.finditer(body))
    assert phrases[0].start() == 0, caption
    assert phrases[-1].end() == len(body), caption
    between = [body[one.end() : two.start()] for one, two in pairwise(phrases)]
    assert all(link in (", ", " and ") or link.strip() in RELATIONS for link in between), caption
    return phrases, between


def matches(phrase: re.Match[str], thing: Thing) -> bool:
    stated = {key: plain(phrase[key]) for key in ("size", "texture", "colour", "shape")}
    return all(value is None or value == getattr(thing, key) for key, value in stated.items()) and (
        phrase["place"] in (None, ninth(thing))
    )


def check(caption: str, scene: Scene) -> None:
    phrases, between = read(caption)
    assert sum(NUMBERS[phrase["number"]] for phrase in phrases) == len(scene.things), caption
    left = list(scene.things)
    told = []
    for phrase in sorted(phrases, key=lambda phrase: -len(phrase[0])):
        for _ in range(NUMBERS[phrase["number"]]):
            thing = next((thing for thing in left if matches(phrase, thing)), None)
            assert thing is not None, f"{caption!r} says {phrase[0]!r}"
            left.remove(thing)
            told.append((phrase.start(), thing))
    opening = COUNTED.match(caption)
    if opening:
        assert NUMBERS[opening["count"]] == len(scene.things)
        assert (plain(opening["tone"]), plain(opening["ground"])) == (scene.tone, scene.ground)
    stated = [link.strip() for link in between if link.strip() in RELATIONS]
    if stated:
        (_, first), (_, second) = sorted(told, key=lambda pair: pair[0])
        across, down = RELATIONS[stated[0]]
        assert across * (first.x - second.x) + down * (first.y - second.y) > 0, caption


@pytest.mark.parametrize("split", ["train", "val", "test", "pretrain"])
def test_every_caption_is_true(split: str) -> None:
    dataset = Scenes(split, MANY)
    for index in range(MANY):
        scene, captions = dataset.scene(index), dataset.item(index).captions
        assert len(captions) == 5
        for caption in captions:
            check(caption, scene)


def test_detail_shrinks() -> None:
    dataset = Scenes("test", MANY)
    words = [[len(caption.split()) for caption in dataset.item(index).captions] for index in range(MANY)]
    full, looks, places, colours, shapes = (sum(column) / MANY for column in zip(*words, strict=True))
    assert full > max(looks, places) > min(looks, places) > colours > shapes
    assert all(COUNTED.match(dataset.item(index).captions[0]) for index in range(MANY))


def test_relations_are_stated_both_ways_and_with_every_word() -> None:
    dataset = Scenes("train", 1500)
    links: Counter[str] = Counter()
    for index in range(1500):
        if len(dataset.scene(index).things) == 2:
            links.update(read(dataset.item(index).captions[2])[1])
    assert {link.strip() for link in links} == set(RELATIONS)


def test_the_full_caption_tells_most_scenes_apart() -> None:
    dataset = Scenes("test")
    captions = [dataset.item(index).captions[0] for index in range(len(dataset))]
    assert len(set(captions)) > 0.98 * len(captions)


def test_a_false_caption_is_noticed() -> None:
    """The reader of captions can fail: each caption of one scene is false of a scene that has nothing in common."""
    dataset = Scenes("train", 50)
    scene = dataset.scene(0)
    shapes = {thing.shape for thing in scene.things}
    other = next(i for i in range(50) if not shapes & {thing.shape for thing in dataset.scene(i).things})
    for caption in dataset.item(other).captions:
        with pytest.raises(AssertionError):
            check(caption, scene)
