"""From the labels in a column to numbered classes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from structure.store.errors import StructureError


def class_value(label: Any) -> str | int | None:
    """A class name or a number; None for an empty cell. Whole floats are numbers: a table with empty cells makes 3 to
    3.0. Raises ValueError, with what the label is, for anything else."""
    if isinstance(label, float):
        if math.isnan(label):
            return None
        label = int(label) if label.is_integer() else label
    if isinstance(label, str):
        return label.strip() or None
    if label is None or (isinstance(label, int) and not isinstance(label, bool)):
        return label
    raise ValueError(f"label is {label!r}; it must be a class name or a whole number.")


def number_classes(
    values: Sequence[str | int | None], *, where: str, untyped: bool = False
) -> tuple[tuple[str, ...], list[int | None]]:
    """Class names in order, and the class of each value: names in sorted order, or numbers in numeric order.

    `untyped`: digits are numbers, as CSV has no types. Raises `StructureError` for names beside numbers.
    """
    present = [value for value in values if value is not None]
    if untyped and all(re.fullmatch(r"-?[0-9]+(\.0*)?", str(value)) for value in present):
        values = [None if value is None else int(str(value).partition(".")[0]) for value in values]
        present = [value for value in values if value is not None]
    names = {value for value in present if isinstance(value, str)}
    numbers = {value for value in present if isinstance(value, int)}
    if names and numbers:
        raise StructureError(
            f"{where}: labels are names ({min(names)!r}, ...) in some rows and numbers ({min(numbers)}, ...) in "
            "others, so a class could stand under two labels. Use one kind."
        )
    ordered: list[str | int] = [*sorted(names), *sorted(numbers)]
    number = {value: index for index, value in enumerate(ordered)}
    return tuple(map(str, ordered)), [None if value is None else number[value] for value in values]


def class_values(label: Any) -> str | int | tuple[str | int, ...] | None:
    """As `class_value`; of a list, for a sample that may have several classes, each of them once."""
    if not isinstance(label, list | tuple):
        return class_value(label)
    known = (class_value(one) for one in label)
    return tuple(dict.fromkeys(one for one in known if one is not None))


def number_label_sets(
    values: Sequence[str | int | tuple[str | int, ...] | None], *, where: str, untyped: bool = False
) -> tuple[tuple[str, ...], list[int | tuple[int, ...] | None]]:
    """As `number_classes`. Where a value is a tuple of classes all of them become tuples: a sample may have several.
    Raises StructureError as it does."""
    parts = [value if isinstance(value, tuple) else (value,) for value in values]
    classes, numbers = number_classes([one for part in parts for one in part], where=where, untyped=untyped)
    if not any(isinstance(value, tuple) for value in values):
        return classes, list(numbers)
    left = iter(numbers)
    sets = [tuple(number for number in (next(left) for _ in part) if number is not None) for part in parts]
    return classes, [None if value is None else found for value, found in zip(values, sets, strict=True)]


MISSING_WORDS = frozenset({"nan", "NaN", "None", "null", "NULL", "<NA>", "N/A", "#N/A"})
"""What programs write into a cell of text that is empty."""


def odd_classes(classes: Sequence[str]) -> Iterator[str]:
    """Sentences about classes that are probably none, or the same."""
    missing = [name for name in classes if name in MISSING_WORDS]
    if missing:
        yield (
            f"a class is called {' and one '.join(map(repr, missing))}, which programs write for a missing value: "
            "leave such cells empty, and the samples have no class"
        )
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(name.casefold(), []).append(name)
    same = [names for names in alike.values() if len(names) > 1]
    if same:
        more = f", and {len(same) - 1} more such" if len(same) > 1 else ""
        yield f"the classes {' and '.join(same[0])} differ by case alone and count as {len(same[0])}{more}"
