"""How the tokens of shards are cut into chunks. Plain integers; imports nothing that touches a disk.

The tokens of one shard are one run. A run is cut into chunks of one size, so that no chunk belongs to two shards: two
writers never meet in a file. What the last chunk of a run holds too much is waste on the disk, and it is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence

CHUNK_BYTES = 16 * 2**20
"""What one chunk of tokens holds at most: a reader of one row reads one chunk."""

WASTE = 20
"""The chunks of a feature set hold at most one part in `WASTE` more than the real tokens."""


def chunk_size(runs: Sequence[int], most: int) -> int:
    """The largest power of two, at most `most`, that wastes at most a `WASTE`th of the runs' tokens (1 always does)."""
    total, size = sum(runs), 1
    while size * 2 <= most and chunk_count(runs, size * 2) * size * 2 * WASTE <= total * (WASTE + 1):
        size *= 2
    return size


def chunk_count(runs: Sequence[int], size: int) -> int:
    """How many chunks the runs take."""
    return first_chunks(runs, size)[-1]


def first_chunks(runs: Sequence[int], size: int) -> list[int]:
    """The number of each run's first chunk, and behind the last the number of all chunks."""
    first = [0]
    for run in runs:
        first.append(first[-1] + -(-run // size))
    return first
