"""Option values that are words from a list, numbers, or lists of words; a wrong one offers the nearest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from structure.store.errors import StructureError, UsageError, nearest


def choice(option: str, value: str, known: Sequence[str]) -> Any:
    """The value, if it is one of the known words. Raises UsageError."""
    if value in known:
        return value
    close = nearest(value, known, most=1)
    offer = f" Did you mean {close[0]}?" if close else ""
    raise UsageError(f"{option} {value!r} is not one of {', '.join(known)}.{offer}")


def listed(known: Iterable[str]) -> tuple[str, ...]:
    """The names of a registry as options spell them, for help and completion.

    Where two installed packages lease one name, those are no names: the run that uses the registry says which.
    """
    try:
        return tuple(name.replace("_", "-") for name in known)
    except StructureError:
        return ()


def words(option: str, value: str) -> list[str]:
    """Comma-separated words; an empty string is no word."""
    parts = [part.strip() for part in value.split(",")] if value else []
    if not all(parts):
        raise UsageError(f"{option} {value!r} has an empty part between its commas.")
    return parts


def count_or(option: str, value: str, known: Sequence[str]) -> Any:
    """A whole number from 1, or one of the known words."""
    if value in known:
        return value
    try:
        count = int(value)
    except ValueError:
        raise UsageError(f"{option} {value!r} is neither a number nor one of {', '.join(known)}.") from None
    if count < 1:
        raise UsageError(f"{option} {count} must be 1 or more.")
    return count


def byte_count(option: str, value: str) -> int:
    """`512MB`, `2GB`, `1.5GiB` or plain bytes. Raises UsageError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", value, re.IGNORECASE)
    if match is None:
        raise UsageError(f"{option} {value!r} is not a size. Write 512MB, 2GB or 1.5GiB.")
    number, letter, binary = match.groups()
    power = " kmgt".index(letter.lower() or " ")
    size = int(float(number) * (1024 if binary else 1000) ** power)
    if size < 1:
        raise UsageError(f"{option} {value} is {size} bytes; it must be 1 byte or more, such as 2GB.")
    return size
