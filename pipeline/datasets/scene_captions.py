"""Five captions of a scene, from full to terse, each true of it; wording and order are drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from structure.pipeline.datasets.scene_draws import Draws
from structure.pipeline.datasets.scene_layout import SIDE, Scene, Thing

SHAPE_WORDS: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "circle", "disc"),
    "square": ("square", "square", "box"),
    "triangle": ("triangle",),
    "diamond": ("diamond", "diamond", "rhombus"),
    "cross": ("cross", "cross", "plus"),
    "star": ("star",),
    "ring": ("ring", "ring", "hoop"),
    "heart": ("heart",),
}
COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "red", "crimson"),
    "orange": ("orange",),
    "yellow": ("yellow", "yellow", "golden"),
    "green": ("green",),
    "cyan": ("cyan", "cyan", "turquoise"),
    "blue": ("blue",),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink",),
}
SIZE_WORDS = {
    "small": ("small", "small", "little"),
    "medium": ("medium", "middling"),
    "large": ("large", "large", "big"),
}
TEXTURE_WORDS = {
    "solid": ("solid", "filled"),
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "spotted"),
    "checked": ("checked", "chequered"),
}
RELATION_WORDS = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
TONE_WORDS = {"dark": ("dark",), "grey": ("grey",), "light": ("light", "pale")}
GROUND_WORDS = {"plain": ("plain",), "shaded": ("shaded",), "tiled": ("tiled",), "speckled": ("speckled", "grainy")}
NUMBERS = ("no", "one", "two", "three", "four")
NOUNS = ("object", "thing", "shape")
OPENINGS = ("", "", "a picture of ", "an image of ", "there is ", "the picture shows ")


def describe(scene: Scene, draws: Draws) -> tuple[str, str, str, str, str]:
    """Everything; size and texture; place or relation; colours; shapes alone.

    Full to terse, so that what reads one caption an item reads the one that says most.
    """
    return (
        _everything(scene, draws),
        _looks(scene, draws),
        _places(scene, draws),
        _colours(scene, draws),
        _shapes(scene, draws),
    )


def _shapes(scene: Scene, draws: Draws) -> str:
    counts = Counter(thing.shape for thing in draws.shuffle(scene.things))
    nouns = [(draws.pick(SHAPE_WORDS[shape]), count) for shape, count in counts.items()]
    phrases = [_a(noun) if count == 1 else f"{NUMBERS[count]} {_plural(noun)}" for noun, count in nouns]
    return draws.pick(OPENINGS) + _list(phrases)


def _colours(scene: Scene, draws: Draws) -> str:
    return draws.pick(OPENINGS) + _list([_a(_kind(thing, draws)) for thing in draws.shuffle(scene.things)])


def _places(scene: Scene, draws: Draws) -> str:
    if scene.relation is not None:
        return draws.pick(OPENINGS) + _stated(scene, draws, [_a(_kind(thing, draws)) for thing in scene.things])
    things = draws.shuffle(scene.things)
    return draws.pick(OPENINGS) + _list([f"{_a(_kind(thing, draws))} {place(thing)}" for thing in things])


def _looks(scene: Scene, draws: Draws) -> str:
    return draws.pick(OPENINGS) + _list([_a(_look(thing, draws)) for thing in draws.shuffle(scene.things)])


def _everything(scene: Scene, draws: Draws) -> str:
    count = len(scene.things)
    noun = draws.pick(NOUNS)
    tone, ground = draws.pick(TONE_WORDS[scene.tone]), draws.pick(GROUND_WORDS[scene.ground])
    opening = f"{NUMBERS[count]} {noun if count == 1 else _plural(noun)} on a {tone} {ground} background"
    if scene.relation is not None:
        return f"{opening}: {_stated(scene, draws, [_a(_look(thing, draws)) for thing in scene.things])}"
    things = draws.shuffle(scene.things)
    return f"{opening}: {_list([f'{_a(_look(thing, draws))} {place(thing)}' for thing in things])}"


def _stated(scene: Scene, draws: Draws, phrases: Sequence[str]) -> str:
    """The relation of a scene of two, seen from either of them."""
    assert scene.relation is not None
    first, second = phrases
    if draws.below(2):
        return f"{first} {draws.pick(RELATION_WORDS[scene.relation])} {second}"
    return f"{second} {draws.pick(RELATION_WORDS[OPPOSITE[scene.relation]])} {first}"


def place(thing: Thing) -> str:
    """Which ninth of the picture the centre of a thing is in: `at the top left`, `in the centre`, ..."""
    down, across = (("top", "", "bottom")[3 * thing.y // SIDE], ("left", "", "right")[3 * thing.x // SIDE])
    return f"at the {down} {across}".replace("  ", " ").rstrip() if down or across else "in the centre"


def _kind(thing: Thing, draws: Draws) -> str:
    return f"{draws.pick(COLOUR_WORDS[thing.colour])} {draws.pick(SHAPE_WORDS[thing.shape])}"


def _look(thing: Thing, draws: Draws) -> str:
    return f"{draws.pick(SIZE_WORDS[thing.size])} {draws.pick(TEXTURE_WORDS[thing.texture])} {_kind(thing, draws)}"


def _a(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _plural(noun: str) -> str:
    return noun + ("es" if noun[-1] in "sx" else "s")


def _list(phrases: Sequence[str]) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
