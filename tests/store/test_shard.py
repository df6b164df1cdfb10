"""The arithmetic of shards against brute force."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structure.store.shard_ranges import (
    MAX_ROWS,
    MIN_ROWS,
    SHARD_BYTES,
    Shard,
    overlapping,
    plan_shards,
    shard_size,
    stored_rows,
)


@given(st.integers(0, 3000), st.integers(1, 700))
def test_shards_partition_the_rows(rows: int, size: int) -> None:
    shards = plan_shards(rows, size)
    assert [row for shard in shards for row in range(shard.start, shard.stop)] == list(range(rows))
    assert all(len(shard) == size for shard in shards[:-1])


@given(st.integers(0, 400), st.integers(0, 400), st.integers(1, 60))
def test_overlapping_names_every_shard_that_a_range_touches(start: int, length: int, size: int) -> None:
    stop = start + length
    touched = {row // size for row in range(start, stop)}
    assert set(overlapping(start, stop, size)) == touched


@given(st.integers(1, 10**7), st.integers(1, 10**7), st.integers(1, 16))
def test_shard_size_keeps_its_limits(rows: int, row_bytes: int, shards: int) -> None:
    size = shard_size(rows, row_bytes, shards=shards)
    assert MIN_ROWS <= size <= MAX_ROWS
    assert size & (size - 1) == 0
    assert size == MIN_ROWS or (size * row_bytes <= SHARD_BYTES and size * shards <= rows)


@given(st.integers(1, 3000), st.integers(1, 700))
def test_stored_rows_are_those_of_whole_shards(rows: int, size: int) -> None:
    assert stored_rows(rows, size) == len(plan_shards(rows, size)) * size


@pytest.mark.parametrize(("start", "stop"), [(3, 3), (5, 2), (-1, 4)])
def test_an_empty_or_reversed_shard_cannot_be_built(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="shard"):
        Shard(start, stop)
