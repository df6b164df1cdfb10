"""Seeded splits for data that bring none: a hash of each id decides, so that adding samples moves no other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from structure.store.errors import StructureError, unknown

SHARES = {"train": 80, "val": 10, "test": 10}
"""Per cent of the samples, in expectation."""


def share(item: str, *, seed: int) -> str:
    """Which of `SHARES` a sample id belongs to: SHA-256 of seed and id, modulo 100."""
    point = int.from_bytes(hashlib.sha256(f"{seed}\n{item}".encode()).digest()[:8], "big") % 100
    for name, percent in SHARES.items():
        point -= percent
        if point < 0:
            return name
    raise AssertionError("the shares add up to 100")


def choose(ids: Sequence[str], *, split: str | None, seed: int, source: str) -> tuple[str, list[int]]:
    """The resolved name of a split and the indices in it. `None` and "all" take every sample.

    A seed other than 0 is part of the name (`train-seed3`): the store must not mix two drawings.
    Raises `StructureError` for any other name, and where the split would be empty.
    """
    if split is None or split == "all":
        return "all", list(range(len(ids)))
    if split not in SHARES:
        hint = f"{source} brings no splits of its own; these are drawn by a seed (80, 10 and 10 per cent)."
        raise unknown("split", split, ["all", *SHARES], hint=hint)
    chosen = [index for index, item in enumerate(ids) if share(item, seed=seed) == split]
    if not chosen:
        raise StructureError(
            f"The seeded split {split} of {source} has 0 of {len(ids)} samples. Choose --split all, or another seed."
        )
    return split if seed == 0 else f"{split}-seed{seed}", chosen
