"""Whether the library that draws charts can run here: where it gets no memory it ends the whole program."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

from structure.store.errors import MachineError

DRAWING = 72 * 2**30
"""Bytes of addresses that drawing a chart takes, nearly all of them without memory behind (vl-convert 1.9: 67 GiB)."""
BUNDLING = 128 * 2**20
"""Bytes that bundling the scripts of a page takes (vl-convert 1.9: 76 MiB)."""


def require_address_space(needed: int, what: str) -> None:
    """Raises MachineError where the limit of this process's addresses (`ulimit -v`) leaves less than `needed` bytes."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    left = limit - _used()
    if limit != resource.RLIM_INFINITY and left < needed:
        raise MachineError(
            f"{what} takes {needed / 2**30:,.2f} GiB of addresses (not of memory), and {max(left, 0) / 2**30:,.2f} GiB "
            f"are left of the limit of {limit / 2**30:,.2f} GiB; beyond it the library that draws would end the "
            "program. Lift the limit (ulimit -v unlimited) and run the same command again. What was finished is saved."
        )


def _used() -> int:
    """Bytes of addresses that this process has; 0 where the system does not say."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return 0
