"""Checks of what requests are given: names, numbers, choices, globs. No torch."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

from structure.store.errors import StructureError, UsageError, unknown
from structure.store.files import plain_name

LONGEST_NAME = 200
"""Letters of a name: file systems allow 255 bytes, and files are written under a longer name first."""


def require_two(first: str, second: str) -> None:
    """Raises UsageError where an aligner would be compared with itself."""
    if first == second:
        raise UsageError(f"--compare {first} {second}: an aligner does not differ from itself. Name two.")


def require_globs(patterns: Sequence[str], layers: Sequence[str], *, of: str) -> None:
    """Raises StructureError for a glob that matches none of the layers."""
    for pattern in patterns:
        if not fnmatch.filter(layers, pattern):
            raise unknown("layer", pattern, list(layers), hint=f"These are the layers of {of}.")


def require_choice(option: str, value: str, known: Sequence[str]) -> None:
    """Raises StructureError with the nearest of the known words."""
    if value not in known:
        raise unknown(f"value of {option}", value, list(known))


def require_name(option: str, name: str | None) -> None:
    """Raises StructureError for what cannot be the name of something in the store."""
    if name is not None and (name[:1] in ("", ".", "-") or name != plain_name(name) or len(name) > LONGEST_NAME):
        near = plain_name(name).strip("._-")[:LONGEST_NAME] or "mine"
        raise StructureError(
            f"{option} {shown_name(name)} cannot be a name in the store: at most {LONGEST_NAME} letters, digits and "
            f". _ - + without slashes, not with . or - at the start. Write {option} {near}."
        )


def shown_name(name: str) -> str:
    """The name as a message shows it, quoted, cut where it is long."""
    return repr(name if len(name) <= 40 else f"{name[:40]}...")


def require_count(option: str, value: Any) -> None:
    """Raises StructureError for what is neither None nor a whole number from 1 on."""
    if value is not None and (not isinstance(value, int) or value < 1):
        raise StructureError(f"{option} {value} must be 1 or more.")
