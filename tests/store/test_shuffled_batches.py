"""Shuffled reading: every row once, the same batches however they are read, within its memory."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from structure.store import Column, FeatureSet, Manifest, SampleItem, Samples, StructureError, Tokens, open_store
from structure.store.column_layout import plan_tokens
from structure.store.lazy_rows import Rows
from structure.store.manifest import lengths_digest
from structure.store.shard_writer import ShardWriter, write_shard
from structure.store.shuffle_plan import ShufflePlan, begins_of, block_edges
from structure.store.shuffled_batches import Shuffled

ROWS = 1500
GRID = {"tokens": 5, "prefix": 1, "grid": (2, 2)}


@st.composite
def plans(draw: st.DrawFn) -> ShufflePlan:
    sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=30))
    weights = tuple(size * draw(st.integers(1, 5)) for size in sizes)
    return ShufflePlan((0, *np.cumsum(sizes).tolist()), weights, draw(st.integers(1, 300)))


@given(plans(), st.integers(0, 2**40), st.integers(0, 1000))
def test_an_epoch_is_every_row_once_in_windows_of_bounded_weight(plan: ShufflePlan, seed: int, epoch: int) -> None:
    order = plan.order(seed, epoch)
    assert sorted(order.tolist()) == list(range(plan.rows))
    np.testing.assert_array_equal(order, plan.order(seed, epoch))
    windows = list(plan.windows(seed, epoch))
    assert sorted(block for window in windows for block in window.blocks) == list(range(len(plan.weights)))
    for window in windows:
        assert len(window.blocks) == 1 or sum(plan.weights[block] for block in window.blocks) <= plan.pool
        held = {row for block in window.blocks for row in range(plan.edges[block], plan.edges[block + 1])}
        assert set(plan.rows_of(window).tolist()) == held


@given(plans(), st.integers(0, 2**40), st.integers(1, 50))
def test_batches_are_the_same_sets_in_an_order_that_suits_memory(plan: ShufflePlan, seed: int, batch: int) -> None:
    drawn, ordered = plan.order(seed, 3), plan.order(seed, 3, batch=batch)
    ends = set(begins_of(list(plan.windows(seed, 3))))
    for start in range(0, plan.rows, batch):
        assert set(ordered[start : start + batch]) == set(drawn[start : start + batch])
    falls = np.flatnonzero(np.diff(ordered) < 0) + 1
    assert all(place % batch == 0 or place in ends for place in falls.tolist())


@given(st.lists(st.integers(0, 500), min_size=1, max_size=100), st.integers(1, 64))
def test_blocks_end_where_chunks_end(rows: list[int], size: int) -> None:
    ascending = np.sort(np.array(rows))
    edges = block_edges(ascending, size)
    groups = [set((ascending[low:high] // size).tolist()) for low, high in itertools.pairwise(edges)]
    assert all(len(group) == 1 for group in groups)
    assert len(set.union(*groups)) == len(groups)


def test_seeds_and_epochs_differ() -> None:
    plan = ShufflePlan(tuple(range(0, 1001, 100)), (100,) * 10, 300)
    orders = [plan.order(seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


@pytest.fixture(scope="module", params=[None, 1], ids=["in place", "packed"])
def sets(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureSet, FeatureSet]:
    """A vision set with tokens of a grid, and a text set with ragged ones; what a row holds tells its number. Layers
    of the text set are looked at where they lie, those of the other may have to be unpacked."""
    store = open_store(tmp_path_factory.mktemp("shuffled"))
    samples = store.put_samples(Samples.build("d", "s", [SampleItem(f"i{i}", ("c",)) for i in range(ROWS)]))
    lengths = np.random.default_rng(0).integers(1, 9, ROWS)
    made = []
    for name in ("vision", "text"):
        manifest = Manifest(
            dataset="d",
            split="s",
            encoder=name,
            modality="vision" if name == "vision" else "text",
            rows_of="items",
            rows=ROWS,
            shard_rows=128,
            columns=(Column("a", 32, "float32"),),
            identity={"encoder": {"weights": name}},
            zstd_level=request.param if name == "vision" else None,
        )
        if name == "vision":
            column, counts = plan_tokens(Column("a", 4, "float32", **GRID), manifest.shards), np.full(ROWS, 5)
            manifest = replace(manifest, tokens=(column,))
        else:
            column, counts = plan_tokens(Column("a", 4, "float32"), manifest.shards, lengths=lengths), lengths
            manifest = replace(manifest, tokens=(column,), lengths=lengths_digest(lengths))
        features = store.allocate(manifest, samples, None if name == "vision" else lengths)
        for shard in features.pending():
            rows = np.arange(shard.start, shard.stop)
            skipped = {200: "broken"} if name == "vision" and shard.start <= 200 < shard.stop else {}
            read = [row for row in rows if row not in skipped]
            tokens = np.repeat(np.float32(read), counts[read])[:, None] * np.ones((1, 4))
            with ShardWriter(features, shard) as writer:
                writer.skipped |= skipped
                writer.put("tokens/a", read, tokens, counts[read])
                writer.put("a", read, np.float32(read)[:, None] * np.ones((1, 32)))
                writer.commit()
        made.append(store[features.key])
    return made[0], made[1]


def sources(sets: tuple[FeatureSet, FeatureSet], rows: np.ndarray) -> list[Rows]:
    vision, text = sets
    return [Rows(vision, "a", rows), Rows(text, "a", rows), Rows(text, "tokens/a", rows)]


def flat(batches: Iterator[tuple[np.ndarray, tuple[np.ndarray | Tokens, ...]]]) -> list[list[np.ndarray]]:
    return [[rows, vision, text, tokens.values, tokens.offsets] for rows, (vision, text, tokens) in batches]


@pytest.mark.parametrize("epoch", [0, 1])
def test_the_same_batches_from_memory_from_shards_and_for_any_number_of_threads(
    sets: tuple[FeatureSet, FeatureSet], epoch: int
) -> None:
    rows = np.flatnonzero(np.arange(ROWS) % 7 != 3)
    rows = rows[rows != 200]
    whole = Shuffled(sources(sets, rows), batch=100, pool=60_000)
    assert whole.in_memory
    expected = flat(whole.epoch(5, epoch))
    assert [len(batch[0]) for batch in expected] == [100] * (len(rows) // 100) + [len(rows) % 100]
    assert sorted(row for batch in expected for row in batch[0]) == list(range(len(rows)))
    for batch in expected:
        numbers = rows[batch[0]]
        np.testing.assert_array_equal(batch[1], numbers[:, None] * np.ones((1, 32)))
        np.testing.assert_array_equal(batch[2], batch[1])
        np.testing.assert_array_equal(batch[3][:, 0], np.repeat(numbers, np.diff(batch[4])))
    for threads in (1, 3):
        windows = Shuffled(sources(sets, rows), batch=100, pool=60_000, memory=240_000, threads=threads)
        assert not windows.in_memory
        for ours, theirs in zip(flat(windows.epoch(5, epoch)), expected, strict=True):
            for mine, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(mine, other)


def test_one_reader_goes_through_epochs_in_any_order(sets: tuple[FeatureSet, FeatureSet]) -> None:
    """Whatever was read ahead, and also after an epoch that was left early."""
    rows = np.arange(300, 900)
    whole = Shuffled(sources(sets, rows), batch=64, pool=20_000)
    windows = Shuffled(sources(sets, rows), batch=64, pool=20_000, memory=110_000)
    assert not windows.in_memory
    for seed, epoch, batches in ((0, 0, 99), (0, 1, 99), (0, 1, 2), (3, 0, 1), (3, 1, 99), (0, 2, 99), (0, 3, 99)):
        expected = flat(itertools.islice(whole.epoch(seed, epoch), batches))
        for ours, theirs in zip(flat(itertools.islice(windows.epoch(seed, epoch), batches)), expected, strict=True):
            for mine, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(mine, other)
    assert len(windows._free) <= 2


def test_tokens_of_pictures_keep_their_grid_and_skipped_ones_have_none(sets: tuple[FeatureSet, FeatureSet]) -> None:
    for rows, (tokens,) in Shuffled([Rows(sets[0], "tokens/a")], batch=64, pool=8_000, memory=40_000).epoch(0):
        assert isinstance(tokens, Tokens)
        assert (tokens.prefix, tokens.grid) == (1, (2, 2))
        np.testing.assert_array_equal(tokens.lengths, np.where(rows == 200, 0, 5))
        np.testing.assert_array_equal(tokens.values[:, 0], np.repeat(rows, tokens.lengths))


@pytest.mark.parametrize("level", [None, 1], ids=["in place", "packed"])
def test_memory_stays_within_what_is_allowed(tmp_path: Path, level: int | None) -> None:
    store, rows, allowed = open_store(tmp_path), 4096, 7 * 2**20
    manifest = Manifest(
        dataset="d",
        split="s",
        encoder="m",
        modality="vision",
        rows_of="items",
        rows=rows,
        shard_rows=256,
        columns=(Column("a", 1024),),
        identity={"encoder": {"weights": "m"}},
        zstd_level=level,
    )
    samples = store.put_samples(Samples.build("d", "s", [SampleItem(f"i{i}") for i in range(rows)]))
    features = store.allocate(manifest, samples)
    for shard in features.pending():
        write_shard(features, shard, {"a": np.ones((len(shard), 1024), dtype=np.float16)})
    reader = Shuffled([Rows(features, "a")], batch=256, pool=2**21 + 2**19, memory=allowed)
    tracemalloc.start()
    for epoch in range(2):
        for _ in reader.epoch(0, epoch):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if level is None:
        assert peak < 2**21  # batches; what is looked at in place is not ours
    else:
        assert 2 * 2**21 < peak < 1.1 * allowed


def test_too_little_memory_is_told_with_what_is_needed(sets: tuple[FeatureSet, FeatureSet]) -> None:
    with pytest.raises(StructureError, match=r"needs [\d,]+ bytes \(two windows.*50,000 are allowed"):
        Shuffled([Rows(sets[0], "a")], batch=64, pool=60_000, memory=50_000)
    with pytest.raises(ValueError, match="do not pair"):
        Shuffled([Rows(sets[0], "a"), Rows(sets[1], "a", np.arange(9))], batch=64)
    with pytest.raises(ValueError, match="ascending"):
        Shuffled([Rows(sets[0], "a", np.array([3, 1]))], batch=64)


def test_damage_is_told_on_the_way(sets: tuple[FeatureSet, FeatureSet], tmp_path: Path) -> None:
    import shutil

    root = Path(sets[0].files.url)
    shutil.copytree(root, tmp_path / "store")
    chunk = tmp_path / "store" / "features" / "d" / "s" / "vision" / "a" / "c" / "4" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-9] + b"damaged!!")
    features = open_store(tmp_path / "store")["d/s/vision"]
    reader = Shuffled([Rows(features, "a")], batch=64, pool=40_000, memory=120_000)
    for _ in range(2):
        with pytest.raises(StructureError, match="Repair the feature set d/s/vision"):
            list(reader.epoch(0))
    chunk.write_bytes((root / chunk.relative_to(tmp_path / "store")).read_bytes())
    whole = [batch[1][0] for batch in reader.epoch(0)]
    chunk.write_bytes(chunk.read_bytes()[:-4])  # shorter is noticed at any time; a flipped bit, at the first reading
    with pytest.raises(StructureError, match="bytes, .* were written|does not unpack"):
        list(reader.epoch(1))
    assert sum(map(len, whole)) == ROWS
