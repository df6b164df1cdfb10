"""Row ranges: the arithmetic of shards. Imports nothing; tested against brute force."""

from __future__ import annotations

from dataclasses import dataclass

SHARD_BYTES = 128 * 2**20
"""What one shard holds over all its layers at most: a crash costs one shard of encoding."""

MIN_ROWS, MAX_ROWS, MIN_SHARDS = 64, 2048, 8

TEXT_SHARDS = 2
"""`MIN_SHARDS` of texts: they are sorted by length within a shard, and shards of 64 rows leave little to sort."""


@dataclass(frozen=True, order=True)
class Shard:
    """The half-open row range `[start, stop)`: the unit of work, of writing, of checksumming and of resuming."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"a shard needs 0 <= start < stop, not [{self.start}, {self.stop})")

    def __len__(self) -> int:
        return self.stop - self.start

    def __contains__(self, row: int) -> bool:
        return self.start <= row < self.stop

    def __str__(self) -> str:
        return f"rows {self.start}-{self.stop - 1}"


def plan_shards(rows: int, size: int) -> tuple[Shard, ...]:
    """Cut `rows` into shards of `size` rows; only the last may be shorter. No rows, no shards."""
    if rows < 0 or size < 1:
        raise ValueError(f"cannot cut {rows} rows into shards of {size}")
    return tuple(Shard(start, min(start + size, rows)) for start in range(0, rows, size))


def shard_size(rows: int, row_bytes: int, *, shards: int = MIN_SHARDS) -> int:
    """Rows per shard: a power of two, at least `shards` of them where the rows allow, at most `SHARD_BYTES` each.

    Never below `MIN_ROWS` (small files are slow everywhere) nor above `MAX_ROWS` (what a crash may cost).
    """
    wanted = min(rows // shards, SHARD_BYTES // max(row_bytes, 1), MAX_ROWS)
    size = MIN_ROWS
    while size * 2 <= wanted:
        size *= 2
    return size


def least_shards(modality: str) -> int:
    """How many shards features of this modality have at least, where the rows allow."""
    return TEXT_SHARDS if modality == "text" else MIN_SHARDS


def stored_rows(rows: int, size: int) -> int:
    """Rows that the chunks of `rows` rows hold on the disk: the last of the shards takes as much as the others."""
    return -(-rows // size) * size


def overlapping(start: int, stop: int, size: int) -> range:
    """Indices of the shards of `size` rows that `[start, stop)` touches."""
    return range(start // size, -(-stop // size)) if stop > start else range(0)
