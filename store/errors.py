"""The errors a user can act on: each says what, both numbers, why it matters and what to type."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StructureError(Exception):
    """A problem with the user's input or surroundings; the command line prints it without a traceback (exit code 1)."""


class UsageError(StructureError):
    """A command that cannot be understood (exit code 2)."""


class NotPresentError(StructureError):
    """An encoder or dataset that is not on this machine; the message says what to place where."""


class MachineError(StructureError):
    """What this machine lacks or forbids, whatever was asked: it is no fault of one task or one variant among many."""


class NoSpaceError(MachineError):
    """A disk that is full."""


class ReadOnlyError(MachineError):
    """A place that this machine or its owner does not let us write to."""


class FingerprintError(StructureError):
    """Two things that were made from different inputs and must not be mixed."""


class DamageError(StructureError):
    """Stored bytes that are missing or are not the ones that were written; `feature_set` is the key of the one that
    repairing makes whole again, "" where the bytes are of something else."""

    def __init__(self, text: str, *, feature_set: str = "") -> None:
        super().__init__(text)
        self.feature_set = feature_set


class BadSampleError(StructureError):
    """One sample that cannot be read; carries the sample's id and the reason, both plain text."""

    def __init__(self, item: str, reason: str) -> None:
        super().__init__(f"{item}: {reason}")
        self.item = item
        self.reason = reason

    def __reduce__(self) -> tuple[type[BadSampleError], tuple[str, str]]:
        return type(self), (self.item, self.reason)


def nearest(name: str, known: Iterable[str], *, most: int = 3) -> list[str]:
    """The names in `known` that resemble `name`, best first, at most `most`."""
    options = list(known)
    folded = {option.casefold(): option for option in reversed(options)}
    close = difflib.get_close_matches(name.casefold(), list(folded), n=most, cutoff=0.5)
    return [folded[key] for key in close]


def unknown(kind: str, name: str, known: Iterable[str], *, hint: str = "") -> StructureError:
    """`unknown("layer", "blok.3", layers)` -> an error that offers the nearest names, or lists all when few."""
    options = list(known)
    close = nearest(name, options)
    if close:
        offer = f" Did you mean {' or '.join(close)}?"
    elif not options:
        offer = f" There is no {kind} here."
    elif len(options) <= 40:
        offer = f" Known: {', '.join(options)}."
    else:
        offer = f" {len(options)} are known, from {options[0]} to {options[-1]}."
    return StructureError(f"Unknown {kind} {name!r}.{offer}{' ' + hint if hint else ''}")
