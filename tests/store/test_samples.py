"""The sample index: what a row is, and what counts as a changed dataset."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structure.store import SampleItem, Samples, Store, StructureError
from structure.store.arrow_arrays import strings
from structure.store.chunk import crc32c
from structure.store.errors import DamageError, FingerprintError


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.sampled_from([None, 1, 2]))
def test_rows_of_captions_and_items_agree_with_a_plain_loop(counts: list[int], limit: int | None) -> None:
    items = [SampleItem(f"i{i}", tuple(f"c{i}.{j}" for j in range(n))) for i, n in enumerate(counts)]
    samples = Samples.build("d", "s", items)
    kept = [n if limit is None else min(n, limit) for n in counts]
    assert len(samples) == len(counts)
    assert samples.item_ids == [f"i{i}" for i in range(len(counts))]
    assert samples.texts(limit) == [f"c{i}.{j}" for i, n in enumerate(kept) for j in range(n)]
    assert samples.row_ids("captions", limit) == [f"i{i}#{j}" for i, n in enumerate(kept) for j in range(n)]
    assert samples.item_of_caption(limit).tolist() == [i for i, n in enumerate(kept) for _ in range(n)]


def test_labels_keep_gaps_and_sets(store: Store) -> None:
    items = [
        SampleItem("a", labels={"label": 2, "tags": (0, 1)}),
        SampleItem("b", labels={"tags": ()}),
        SampleItem("c", labels={"label": 0, "tags": (1,)}),
    ]
    tasks = {"label": {"classes": ["x", "y", "z"]}, "tags": {"classes": ["p", "q"]}}
    samples = Samples.build("d", "s", items, tasks=tasks)
    store.put_samples(samples)
    back = store.samples("d", "s")
    np.testing.assert_array_equal(back.labels("label"), [2, -1, 0])
    assert back.label_sets("tags") == [[0, 1], [], [1]]
    assert back.tasks == tasks
    assert back.table == samples.table


def test_repeated_ids_and_empty_captions_are_refused() -> None:
    with pytest.raises(StructureError, match="id 'a' is used by sample 0 and by sample 2"):
        Samples.build("d", "s", [SampleItem("a"), SampleItem("b"), SampleItem("a")])
    with pytest.raises(StructureError, match="caption 1 of sample 'a' is empty"):
        Samples.build("d", "s", [SampleItem("a", ("x", "  "))])
    with pytest.raises(StructureError, match="has no sample"):
        Samples.build("d", "s", [])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ([SampleItem("a", ("x",), "1"), SampleItem("b", ("y",), "9")], "1 samples differ, the first is 'b'"),
        ([SampleItem("a", ("x",), "1"), SampleItem("b", ("z",), "2")], "1 captions differ, the first is 'b#0'"),
        ([SampleItem("a", ("x",), "1")], "it had 2 samples and has 1 now"),
    ],
)
def test_a_changed_dataset_is_refused(store: Store, changed: list[SampleItem], message: str) -> None:
    store.put_samples(Samples.build("d", "s", [SampleItem("a", ("x",), "1"), SampleItem("b", ("y",), "2")]))
    with pytest.raises(FingerprintError, match=message):
        store.put_samples(Samples.build("d", "s", changed))


def test_a_new_caption_leaves_the_digest_of_the_pictures_alone() -> None:
    old = Samples.build("d", "s", [SampleItem("a", ("x",), "1")])
    new = Samples.build("d", "s", [SampleItem("a", ("x", "y"), "1")])
    assert old.digest("items") == new.digest("items")
    assert old.digest("captions") != new.digest("captions")
    assert old.digest("captions", 1) == new.digest("captions", 1)


def test_an_unknown_split_lists_what_is_there(store: Store) -> None:
    store.put_samples(Samples.build("d", "train", [SampleItem("a")]))
    with pytest.raises(StructureError, match=r"d/tran.*d/train"):
        store.samples("d", "tran")


@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_a_digest_is_that_of_the_joined_texts(store: Store, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr("structure.store.sample_table.BATCH_ROWS", batch)
    monkeypatch.setattr("structure.store.sample_columns.BATCH_ROWS", batch)
    items = [SampleItem(f"ö{i}", tuple(f"c{i}.{j} ☃" for j in range(i % 3)), f"{i:x}") for i in range(7)]
    built = Samples.build("d", "s", items).without(["ö4"])
    store.put_samples(built)
    names, digests = built.item_ids, [digest for _, digest in built.digests.values()]
    for samples in (built, store.samples("d", "s")):
        for rows in (None, 1, 4):
            pairs = [f"{name}\0{digest}" for name, digest in zip(names, digests, strict=True)][:rows]
            assert samples.digest("items", rows=rows) == hashlib.sha256("\1".join(pairs).encode()).hexdigest()
            for limit in (None, 1):
                texts = zip(samples.row_ids("captions", limit), samples.texts(limit), strict=True)
                pairs = [f"{name}\0{text}" for name, text in texts][:rows]
                found = samples.digest("captions", limit, rows=rows)
                assert found == hashlib.sha256("\1".join(pairs).encode()).hexdigest()
        assert samples.is_withdrawn.tolist() == [i == 4 for i in range(7)]


def test_the_table_of_ids_alone_is_the_one_that_is_built_of_them() -> None:
    ids = ["a", "ö", "", "c"]
    plain = Samples.build("d", "s", [SampleItem(name) for name in ids])
    short = Samples.of_ids("d", "s", strings(ids))
    assert short.table == plain.table
    assert short.table.schema == plain.table.schema
    assert (short.tasks, short.kind) == (plain.tasks, plain.kind)


def test_rows_of_several_views_are_named_by_their_view() -> None:
    samples = Samples.build("d", "s", [SampleItem("a", ("x", "y")), SampleItem("b", ("z",))])
    assert samples.row_ids("items", None, 2) == ["a", "a#view1", "b", "b#view1"]
    assert [samples.row_count(*of) for of in (("items", None, 2), ("captions", 1), ("captions",))] == [4, 2, 3]


def test_a_table_that_is_open_holds_the_columns_that_were_asked_for(store: Store) -> None:
    rows = 50_000
    items = [SampleItem(f"{i}", (f"{i} " + 60 * "word ",), digest=f"{i:064x}") for i in range(rows)]
    store.put_samples(Samples.build("d", "s", items))
    before = pa.total_allocated_bytes()
    samples = store.samples("d", "s")
    assert len(samples) == samples.row_count("captions") == rows
    assert not samples.is_withdrawn.any()
    assert samples.values("text", np.array([7]))[0].startswith("7 ")
    assert samples.digest("items")
    assert samples.digest("captions")
    held = pa.total_allocated_bytes() - before
    assert held < 8 * rows
    assert samples.item_of_caption()[-1] == rows - 1
    assert samples.values("item", np.array([7, 3, 7, 0])) == ["7", "3", "7", "0"]
    assert samples.column("text").nbytes > 300 * rows
    assert pa.total_allocated_bytes() - before > 300 * rows


def test_a_column_that_does_not_read_is_damage(store: Store) -> None:
    store.put_samples(Samples.build("d", "s", [SampleItem(f"{i}", (f"text {i}",)) for i in range(100)]))
    key = Samples.file("d", "s")
    data = bytearray(store.files.read(key))
    meta = pq.ParquetFile(pa.BufferReader(bytes(data))).metadata.row_group(0)
    place = next(meta.column(n) for n in range(6) if meta.column(n).path_in_schema == "text").dictionary_page_offset
    data[place + 40] ^= 255
    store.files.write(key, data)
    store.files.write(f"{key}.crc32c", f"{crc32c(memoryview(data)):08x}".encode())
    samples = store.samples("d", "s")
    assert len(samples) == 100
    for read in (samples.texts, samples.read_through, lambda: samples.digest("captions")):
        with pytest.raises(DamageError, match=r"samples/d/s.parquet does not read: .*"):
            read()
