"""Class names from one place bound to the labels of another: by name, and by their order only where nothing speaks
against it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from structure.store.errors import StructureError


def bound(own: Sequence[str], names: Sequence[str], *, source: str, dataset: str, by_order: bool) -> tuple[str, ...]:
    """`names` in the order of the dataset's `own` class names, which its labels count.

    Case, `_`, `-` and spaces do not matter where they do not tell two classes apart. Names that are none of the
    dataset's are taken in their order where `by_order` (a published list in words of its own) and where no other name
    stands at another place. Raises StructureError for another number of names, and for names that cannot be bound.
    """
    if len(names) != len(own):
        raise StructureError(
            f"{dataset} has labels for {len(own)} classes but {source} names {len(names)}. "
            "Labels would point to the wrong names. Use a prompt set made for this copy of the dataset."
        )
    if tuple(names) == tuple(own):
        return tuple(names)
    exact: dict[str, list[int]] = {}
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        exact.setdefault(name, []).append(place)
        places.setdefault(_plain(name), []).append(place)
    alike = Counter(map(_plain, own))
    found = [exact.get(name, []) for name in own]
    found = [
        where if len(where) == 1 or alike[_plain(name)] > 1 else places.get(_plain(name), [])
        for name, where in zip(own, found, strict=True)
    ]
    if all(len(where) == 1 for where in found):
        return tuple(names[where] for (where,) in found)
    in_place = all(not where or place in where for place, where in enumerate(found))
    if by_order and in_place:
        return tuple(names)
    strange = [name for name, where in zip(own, found, strict=True) if len(where) != 1]
    pairs = ", ".join(f"{_quoted(name)}: {_quoted(word)}" for name, word in zip(own, names, strict=True))
    raise StructureError(
        f"{source}: {len(strange)} of {len(own)} classes of {dataset} are not named there, first {strange[0]!r}. "
        "Classes are bound by name: in another order a list would give each class the number of another. "
        f"Say which is which with names in place of classes: names: {{{pairs}}}"
    )


def renamed(own: Sequence[str], names: Mapping[str, str], *, source: str, dataset: str) -> tuple[str, ...]:
    """The words for each of the dataset's `own` classes. Raises StructureError for a class without words, and for words
    of a class that the dataset does not have."""
    alike = Counter(map(_plain, own))
    plain = {_plain(name): word for name, word in names.items() if alike[_plain(name)] == 1}
    words = {name: names.get(name, plain.get(_plain(name))) for name in own}
    lacking = [name for name, word in words.items() if word is None]
    strange = [name for name in names if not alike[_plain(name)]]
    if lacking or strange:
        what = [f"no words for {len(lacking)} of {len(own)} classes, first {lacking[0]!r}"] if lacking else []
        what += [f"words for {strange[0]!r}, which {dataset} does not have"] if strange else []
        raise StructureError(f"{source}: {' and '.join(what)}. The classes are: {', '.join(own[:40])}.")
    return tuple(word for word in words.values() if word is not None)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _quoted(text: str) -> str:
    """As YAML reads it."""
    return json.dumps(text, ensure_ascii=False)
