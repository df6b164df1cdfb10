"""Withdrawn samples: their rows are gone from every file, nothing else moves, and a killed run is finished."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from structure.store import Column, FeatureSet, Manifest, SampleItem, Samples, Store, open_store
from structure.store.column_layout import plan_tokens
from structure.store.errors import NoSpaceError
from structure.store.local_files import LocalFiles
from structure.store.manifest import lengths_digest
from structure.store.sample_table import WITHDRAWN, withdrawn_id
from structure.store.shard_ranges import plan_shards
from structure.store.shard_writer import ShardWriter
from structure.store.withdrawn import is_pending, withdraw_rows, withdrawn_rows

ITEMS, SHARD = 23, 8
FORMS = ("pooled", "views", "captions", "ragged", "patches", "zstd")


class Killed(BaseException):
    """The process ends here."""


def table() -> Samples:
    """Samples of two captions each."""
    items = [
        SampleItem(f"img/{i}.png", (f"about number {i}", f"{i} said again"), digest=f"{i:064x}") for i in range(ITEMS)
    ]
    return Samples.build("toy", "train", items)


def filled(store: Store, form: str) -> tuple[FeatureSet, dict[str, list[np.ndarray]]]:
    """A feature set of that form, one row skipped, and of each column the values of each row."""
    samples = store.put_samples(table())
    rows_of: Any = "captions" if form in ("captions", "ragged") else "items"
    views = 3 if form == "views" else 1
    captions = 2 if rows_of == "captions" else None
    ids = samples.row_ids(rows_of, captions, views)
    random, shards = np.random.default_rng(0), plan_shards(len(ids), SHARD)
    lengths = random.integers(1, 6, len(ids)) if form == "ragged" else None
    tokens: tuple[Column, ...] = ()
    if form == "ragged":
        tokens = (plan_tokens(Column("block.00", 12, tokens=None), shards, lengths=lengths, chunk=4),)
    if form == "patches":
        tokens = (plan_tokens(Column("block.00", 12, tokens=5, prefix=1, grid=(2, 2)), shards, chunk=2),)
    manifest = Manifest(
        dataset="toy",
        split="train",
        encoder=form,
        modality="vision" if rows_of == "items" else "text",
        rows_of=rows_of,
        rows=len(ids),
        shard_rows=SHARD,
        columns=(Column("block.00", 12), Column("pooled", 7, "float32")),
        identity={"encoder": {"weights": form}, "data": {"digest": samples.digest(rows_of, captions)}},
        captions=captions,
        views=views,
        tokens=tokens,
        lengths=lengths_digest(lengths) if lengths is not None else "",
        zstd_level=1 if form == "zstd" else None,
    )
    features = store.allocate(manifest, samples, lengths)
    values: dict[str, list[np.ndarray]] = {}
    for path, column in manifest.by_path.items():
        counts = np.full(len(ids), column.tokens) if column.tokens else lengths
        values[path] = [random.standard_normal((n, column.width)).astype(column.dtype) for n in counts]
    for shard in features.pending():
        with ShardWriter(features, shard) as writer:
            writer.skipped = {row: "is no image" for row in (3,) if row in shard}
            numbers = [row for row in range(shard.start, shard.stop) if row not in writer.skipped]
            for path, of_rows in values.items():
                writer.put(path, numbers, np.concatenate([of_rows[row] for row in numbers]))
            writer.commit()
    return features, values


@cache
def template(form: str) -> tuple[Path, dict[str, list[np.ndarray]]]:
    """A filled store to copy, and its values."""
    place = Path(mkdtemp()) / "store"
    _, values = filled(open_store(place), form)
    return place, values


def copied(form: str, place: Path) -> tuple[Store, dict[str, list[np.ndarray]]]:
    source, values = template(form)
    shutil.copytree(source, place / "store")
    return open_store(place / "store"), values


def dropped(store: Store, form: str, items: set[int]) -> FeatureSet:
    samples = store.samples("toy", "train")
    after = samples.without({f"img/{i}.png" for i in items})
    after.write(store.files)
    return withdraw_rows(store[f"toy/train/{form}"], after)


def stored_bytes(store: Store) -> bytes:
    return b"\0".join(path.read_bytes() for path in sorted(Path(store.url).rglob("*")) if path.is_file())


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(form=st.sampled_from(FORMS), items=st.sets(st.integers(0, ITEMS - 1), min_size=1, max_size=ITEMS - 1))
def test_no_byte_of_any_subset_remains_and_no_other_row_moves(
    form: str, items: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store, values = copied(form, tmp_path_factory.mktemp("drop"))
    before = store[f"toy/train/{form}"]
    owners = table().item_of_row(before.manifest.rows_of, before.manifest.captions, before.manifest.views)
    gone = np.flatnonzero(np.isin(owners, list(items)))
    dropped(store, form, items)
    features = store[before.key]
    assert features.verify() == []
    assert features.fingerprint != before.fingerprint
    assert features.state == "complete"
    samples, content = store.samples("toy", "train"), stored_bytes(store)
    assert withdrawn_rows(features, samples).tolist() == gone.tolist()
    assert not is_pending(features, samples)
    skipped = dict.fromkeys(gone.tolist(), WITHDRAWN) | ({} if 3 in gone else {3: "is no image"})
    assert features.skipped == skipped
    for item in items:
        assert f"img/{item}.png".encode() not in content
        assert f"about number {item}" not in samples.texts()
        assert f"{item:064x}".encode() not in content
        assert withdrawn_id(f"img/{item}.png") in samples.item_ids
    for path, of_rows in values.items():
        column = features.column(path)
        for row, vectors in enumerate(of_rows):
            if row in gone.tolist():
                assert all(vector.tobytes() not in content for vector in vectors)
            elif row not in features.skipped and column.is_pooled:
                assert np.array_equal(features.rows(path, row, row + 1), vectors)
            elif row not in features.skipped:
                assert np.array_equal(features.tokens(column.name, row, row + 1).values, vectors)
        if not column.is_pooled:
            assert len(features.tokens(column.name, int(gone[0]), int(gone[0]) + 1).values) == 0
    assert np.isnan(features.to_xarray()["block.00"].values[gone]).all()


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=st.sampled_from(FORMS),
    step=st.integers(0, 40),
    after=st.booleans(),
    end=st.sampled_from([Killed(), NoSpaceError("full")]),
)
@example(form="pooled", step=5, after=False, end=NoSpaceError("full"))
def test_a_run_that_ends_at_any_write_is_finished_by_the_next(
    form: str, step: int, after: bool, end: BaseException, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With the bytes of a run that nobody killed and that found its disk never full; between them no row reads as if it
    were whole and had changed."""
    items = {2, 3, 9, 22}
    (whole, _), (part, _) = (copied(form, tmp_path_factory.mktemp("drop")) for _ in range(2))
    dropped(whole, form, items)
    count, write = 0, LocalFiles.write

    def killed(files: LocalFiles, key: str, *parts: Any) -> None:
        nonlocal count
        count += 1
        if count == step + 1 and not after:
            raise end
        write(files, key, *parts)
        if count == step + 1:
            raise end

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalFiles, "write", killed)
        with suppress(Killed, NoSpaceError):
            dropped(part, form, items)
    samples = part.samples("toy", "train")
    if samples.is_withdrawn.any() and is_pending(part[f"toy/train/{form}"], samples):
        told = [str(fault) for fault in part[f"toy/train/{form}"].verify()]
        assert any("Finish it with drop-items of toy" in fault for fault in told)
    dropped(part, form, items)
    assert part[f"toy/train/{form}"].verify() == []
    for store in (whole, part):
        for path in Path(store.url).rglob("claims/*"):
            assert not path.is_file()
    mine, theirs = (
        {str(path.relative_to(store.url)): path.read_bytes() for path in Path(store.url).rglob("*") if path.is_file()}
        for store in (part, whole)
    )
    assert mine == theirs


SCRIPT = """
import os, sys
from structure.store import open_store
from structure.store.local_files import LocalFiles
from structure.store.withdrawn import withdraw_rows
store, count, write = open_store(sys.argv[1]), int(sys.argv[2]), LocalFiles.write
def dying(files, key, *parts):
    global count
    count -= 1
    if count < 0:
        os._exit(9)
    write(files, key, *parts)
LocalFiles.write = dying
withdraw_rows(store["toy/train/pooled"], store.samples("toy", "train"))
"""


@pytest.mark.parametrize("writes", [1, 6])
def test_a_process_that_dies_leaves_a_lease_that_holds_nobody_up(tmp_path: Path, writes: int) -> None:
    store = open_store(tmp_path / "store")
    filled(store, "pooled")
    after = store.samples("toy", "train").without({"img/1.png", "img/20.png"})
    after.write(store.files)
    assert subprocess.run([sys.executable, "-c", SCRIPT, store.url, str(writes)], check=False).returncode == 9
    assert is_pending(store["toy/train/pooled"], after)
    withdraw_rows(store["toy/train/pooled"], after)
    assert store["toy/train/pooled"].verify() == []
    assert not store.files.keys("features/toy/train/pooled/claims")


def test_a_damaged_chunk_goes_and_its_column_is_pending(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    features, values = filled(store, "pooled")
    chunk = Path(store.url) / "features/toy/train/pooled/block.00/c/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-9] + b"spoilt!!!")
    dropped(store, "pooled", {1})
    features = store["toy/train/pooled"]
    assert {shard.start: names for shard, names in features.pending().items()} == {0: ("block.00",)}
    content = stored_bytes(store)
    assert all(values[path][1].tobytes() not in content for path in values)
    assert not is_pending(features, store.samples("toy", "train"))


def test_what_a_killed_writer_left_of_a_shard_goes_too(tmp_path: Path) -> None:
    """Chunks that no marker vouches for, and half-written files."""
    store = open_store(tmp_path / "store")
    features, values = filled(store, "pooled")
    features.completion.remove(0)
    dropped(store, "pooled", {1})
    assert values["pooled"][1].tobytes() not in stored_bytes(store)
    assert [shard.start for shard in store["toy/train/pooled"].pending()] == [0]


def test_a_row_of_an_index_is_known_again_and_says_nothing(tmp_path: Path) -> None:
    after = table().without({"img/5.png"})
    assert len(after) == ITEMS
    assert after.is_withdrawn.nonzero()[0].tolist() == [5]
    assert after.texts()[10:12] == ["", ""]
    assert after.row_ids("captions")[10] == f"{withdrawn_id('img/5.png')}#0"
    assert after.without({"img/5.png"}).table == after.table
    row = after.table.to_pylist()[10]
    assert (row["text"], row["digest"], row["stamp"], row["caption_index"]) == (None, WITHDRAWN, "", 0)
