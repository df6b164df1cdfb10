"""Words that name the parts of a data set, and when names of folders or files are taken for them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from structure.store.errors import StructureError, unknown

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""What people call the parts, in lower case, and which of the three is meant."""

_WITH_NOUN = re.compile(r"(?P<word>[a-z]+?)(sets?|data|images?|imgs|photos|pics|splits?)")
"""A word for a part that is written together with what it is of: `trainset`, `testimages`."""

_KEPT = frozenset({"train", "val", "valid", "validation", "dev", "test"})
"""Names that stand as they are; every other spelling is called by its meaning."""


def meaning(name: str) -> str | None:
    """train, val or test, where `name` is one of the usual words for them in any case; else None."""
    return SPLIT_WORDS.get(name.casefold())


def hinted(name: str) -> str | None:
    """train, val or test, where exactly one of them is meant by the words of a longer name (`seg_train`, `val2017`,
    `TestImages`, `trainset-00`); else None."""
    words = re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    parts = {meaning(word) or _without_noun(word) for word in words} - {None}
    return next(iter(parts)) if len(parts) == 1 else None


def _without_noun(word: str) -> str | None:
    matched = _WITH_NOUN.fullmatch(word)
    return meaning(matched["word"]) if matched else None


def split_of(name: str) -> str | None:
    """What the part that is called `name` (a folder, say) is called here: `Training` is train, `valid` stays; None for
    a name that is no word for a part."""
    return name if name in _KEPT else meaning(name)


def called(names: Sequence[str], *, where: str) -> list[str]:
    """What the parts that rows name are called: `split_of` each word for a part (`Training` is train), other names as
    they are; names that differ by case alone are one part.

    Raises `StructureError` where two words mean one part (`train` beside `Training`): rows of one would be lost.
    """
    words: dict[str, str] = {}
    first: dict[str, str] = {}
    for name in names:
        if name not in words:
            words[name] = first.setdefault(name.casefold(), split_of(name) or name)
    for name, word in words.items():
        other = next((one for one in words if words[one] == word and one.casefold() != name.casefold()), None)
        if other is not None:
            raise StructureError(
                f"{where} has {name!r} and {other!r}, and both mean the split {word}: rows of one of them would be "
                "lost. Write them alike."
            )
    return [words[name] for name in names]


def are_parts(values: Collection[str]) -> bool:
    """Whether these are all words for parts, of two parts or more: a column of them says what is held out."""
    parts = {meaning(value.strip()) for value in values if value.strip()}
    return None not in parts and len(parts) > 1


def pick_split(asked: str, available: Collection[str]) -> str | None:
    """The one of `available` that `asked` means: itself, or the only one with its meaning (`val` for `Valid`)."""
    if asked in available:
        return asked
    same = [name for name in available if meaning(name) is not None and meaning(name) == meaning(asked)]
    return same[0] if len(same) == 1 else None


def default_split(available: Sequence[str]) -> str | None:
    """The part that means train, or None."""
    return pick_split("train", available)


def split_folders(names: Sequence[str], *, where: str, how: str) -> dict[str, str]:
    """Part -> folder where all of `names` are words for parts; empty where none is.

    Raises `StructureError` where some are and others are not, or two mean the same: pictures would be held out, or
    counted as a class, by a guess. `where` is the folder, `how` what to type instead.
    """
    words = {name: split_of(name) for name in names}
    parts = [name for name in names if words[name]]
    if not parts:
        return {}
    others = [name for name in names if not words[name]]
    if others:
        raise StructureError(
            f"{where} has {_some(parts)}, which {'is a name' if len(parts) == 1 else 'are names'} of splits, beside "
            f"{_some(others)}, which {'is' if len(others) == 1 else 'are'} not: the images could be held out wrongly. "
            f"{how}"
        )
    splits: dict[str, str] = {}
    for name in parts:
        split = words[name] or name
        if split in splits:
            raise StructureError(f"{where} has {splits[split]} and {name}, and both mean the split {split}. {how}")
        splits[split] = name
    return splits


def choose_split(asked: str | None, available: Sequence[str], *, hint: str) -> str:
    """The part to open: the one asked for, else train, else the first. Raises `StructureError` for one unknown."""
    if asked is None:
        return default_split(available) or available[0]
    found = pick_split(asked, available)
    if found is None:
        raise unknown("split", asked, available, hint=hint)
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"
