"""The arithmetic of token chunks against brute force."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from structure.store.column_layout import WASTE, Column, chunk_count, chunk_size, first_chunks, plan_tokens
from structure.store.manifest import Manifest, lengths_digest
from structure.store.shard_ranges import plan_shards

RUNS = st.lists(st.integers(1, 5000), min_size=1, max_size=30)


@given(RUNS, st.integers(1, 10**5))
def test_a_chunk_is_as_large_as_the_waste_allows(runs: list[int], most: int) -> None:
    size = chunk_size(runs, most)

    def fits(size: int) -> bool:
        return (sum(-(-run // size) * size for run in runs) - sum(runs)) * WASTE <= sum(runs)

    assert 1 <= size <= most
    assert fits(size)
    assert size * 2 > most or not fits(size * 2)


@given(RUNS, st.integers(1, 300))
def test_chunks_never_belong_to_two_runs(runs: list[int], size: int) -> None:
    first = first_chunks(runs, size)
    assert first[0] == 0
    assert first[-1] == chunk_count(runs, size) == sum(-(-run // size) for run in runs)
    owners = [number for number, run in enumerate(runs) for _ in range(-(-run // size))]
    assert [owners[chunk] for chunk in first[:-1]] == list(range(len(runs)))


@given(
    lengths=st.lists(st.integers(1, 600), min_size=1, max_size=200),
    shard_rows=st.integers(1, 64),
    width=st.integers(1, 300),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_token_has_one_place_of_its_own(
    lengths: list[int], shard_rows: int, width: int, manifest: Callable[..., Manifest]
) -> None:
    shards, counts = plan_shards(len(lengths), shard_rows), np.array(lengths, dtype=np.int64)
    column = plan_tokens(Column("x", width), shards, lengths=counts)
    rows = {"rows": len(lengths), "shard_rows": shard_rows, "modality": "text"}
    made = manifest(tokens=(column,), lengths=lengths_digest(counts), **rows)
    starts = made.layout(column, counts).starts()
    places = [start + i for start, length in zip(starts, lengths, strict=True) for i in range(length)]
    assert len(set(places)) == len(places)
    assert max(places) < column.chunks * column.chunk
    assert column.size <= 1.1 * sum(lengths) * width * 2
    for shard in shards:
        chunks = {place // column.chunk for row in range(shard.start, shard.stop) for place in (starts[row],)}
        others = {starts[row] // column.chunk for row in range(len(lengths)) if not shard.start <= row < shard.stop}
        assert not chunks & others


@given(st.integers(1, 3000), st.sampled_from([64, 256, 2048]), st.integers(1, 300), st.integers(1, 2000))
def test_pictures_waste_no_more_than_texts(rows: int, shard_rows: int, tokens: int, width: int) -> None:
    column = plan_tokens(Column("x", width, tokens=tokens, prefix=tokens), plan_shards(rows, shard_rows))
    assert column.chunk <= shard_rows
    assert column.size <= 1.1 * rows * tokens * width * 2
