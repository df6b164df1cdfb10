"""What a stage would do, before it does it: rows, bytes, time, and how much of it is cached already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from structure.store import Store
from structure.store.errors import StructureError

SPARE = 64 * 2**20
"""Bytes to leave free on the disk."""


@dataclass(frozen=True)
class WorkEstimate:
    """One part of the work. `pending`: how much of it is not there, in the unit that `what` names; `disk`: bytes that
    it writes; `memory`: bytes that it holds at once; `seconds`: on this machine, from a probe (None: not known)."""

    what: str
    rows: int
    pending: int
    disk: int
    memory: int
    seconds: float | None

    def row(self) -> dict[str, Any]:
        """Flat JSON values."""
        return asdict(self)


def require_space(store: Store, parts: Sequence[WorkEstimate]) -> None:
    """Refuse work that the disk cannot hold. Raises StructureError."""
    needed, free = sum(part.disk for part in parts), store.files.free()
    if free is not None and needed + SPARE > free:
        raise StructureError(
            f"This writes {needed:,} bytes and the disk of {store.url} has {free:,} free ({SPARE:,} are reserved). "
            "Make space, or choose another --store."
        )
