"""How often Python looks for garbage: seldom while libraries are imported, whose objects stay, as usual afterwards."""

from __future__ import annotations

import gc

USUAL = gc.get_threshold()

OBJECTS = 50_000
"""New objects between two passes while libraries are imported. With Python's own 700 the passes take a third of the
time."""


def seldom() -> None:
    """For the first moments."""
    gc.set_threshold(OBJECTS, *USUAL[1:])


def usual() -> None:
    """From when work begins, whose garbage may be large."""
    gc.set_threshold(*USUAL)
