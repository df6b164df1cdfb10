"""Aligners that differ in their training seed alone are one variant."""

from __future__ import annotations

import re

_SEED = re.compile(r"-seed(\d+)$")


def variant(aligner: str) -> str:
    """The aligner's name without its seed: what several runs have in common."""
    return _SEED.sub("", aligner)


def seed_of(aligner: str) -> int:
    """The training seed that the name ends in; 0 where it names none."""
    found = _SEED.search(aligner)
    return int(found[1]) if found else 0
