"""Writing, reading and refusing: what a feature set promises."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from structure.store import FeatureSet, Manifest, Rows, Samples, Shard, Store, StructureError, open_store
from structure.store.cast import Float16OverflowError
from structure.store.errors import DamageError, FingerprintError
from structure.store.lease import HeldError, Lease
from structure.store.local_files import LocalFiles
from structure.store.shard_writer import ShardWriter, lease_of, write_shard

Values = dict[str, np.ndarray]
Fill = Callable[[FeatureSet, Values], None]
Make = Callable[..., Manifest]


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_what_was_written_is_read_back(features: FeatureSet, values: Values) -> None:
    assert features.is_complete
    assert features.verify() == []
    for name, expected in values.items():
        stored = expected.astype(np.float32 if name == "pooled" else np.float16)
        np.testing.assert_array_equal(features.rows(name), stored)
        np.testing.assert_array_equal(Rows(features, name)[50:130], stored[50:130])
    assert features.ids[7] == "item7"


def test_plain_zarr_and_xarray_open_it(features: FeatureSet, values: Values, tmp_path: Path) -> None:
    folder = tmp_path / "store" / "features" / "toy" / "train" / "vit"
    group = zarr.open_group(folder, mode="r")
    np.testing.assert_array_equal(group["block.01"][:], values["block.01"].astype(np.float16))
    assert group["block.01"].metadata.dimension_names == ("sample", "feature")
    lazy = xr.open_zarr(folder)
    assert lazy["block.00"].chunks == ((64, 64, 64, 64, 44), (24,))
    np.testing.assert_array_equal(lazy["embed"].sel(sample="item9"), values["embed"][9].astype(np.float16))
    assert set(features.to_xarray().data_vars) == set(features.layers)


def test_plain_zarr_refuses_flipped_bits(features: FeatureSet, tmp_path: Path) -> None:
    folder = tmp_path / "store" / "features" / "toy" / "train" / "vit"
    chunk = folder / "block.00" / "c" / "1" / "0"
    data = bytearray(chunk.read_bytes())
    data[100] ^= 4
    chunk.write_bytes(data)
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_group(folder, mode="r")["block.00"][:]


def test_the_chunk_bytes_are_those_that_zarr_writes(features: FeatureSet, values: Values, tmp_path: Path) -> None:
    ours = tmp_path / "store" / "features" / "toy" / "train" / "vit" / "block.00"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "zarr.json").write_bytes((ours / "zarr.json").read_bytes())
    array = zarr.open_array(theirs, mode="r+")
    padded = np.zeros((320, 24), dtype=np.float16)
    padded[:300] = values["block.00"]
    array.resize((320, 24))
    array[:] = padded
    for index in range(5):
        assert (ours / "c" / str(index) / "0").read_bytes() == (theirs / "c" / str(index) / "0").read_bytes()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(5)), cut=st.integers(0, 5))
def test_any_order_and_any_interruption_give_the_same_bytes(
    order: list[int],
    cut: int,
    tmp_path_factory: pytest.TempPathFactory,
    samples: Samples,
    values: Values,
    manifest: Make,
    fill: Fill,
    features: FeatureSet,
    tmp_path: Path,
) -> None:
    root = tmp_path_factory.mktemp("other")
    store = open_store(root)
    other = store.allocate(manifest(), store.put_samples(samples))
    for index in order[:cut]:
        shard = other.manifest.shards[index]
        write_shard(other, shard, {name: part[shard.start : shard.stop] for name, part in values.items()})
    assert len(other.pending()) == 5 - cut
    resumed = open_store(root)["toy/train/vit"]
    fill(resumed, values)
    assert tree(root) == tree(tmp_path / "store")


def test_zstd_keeps_the_values(store: Store, samples: Samples, values: Values, manifest: Make, fill: Fill) -> None:
    packed = store.allocate(manifest(encoder="packed", zstd_level=3), store.put_samples(samples))
    fill(packed, values)
    assert packed.verify() == []
    np.testing.assert_array_equal(packed.rows("block.00", 60, 70), values["block.00"][60:70].astype(np.float16))
    group = zarr.open_group(store.folder("features", "toy", "train", "packed").url, mode="r")
    np.testing.assert_array_equal(group["pooled"][:], values["pooled"])


def test_another_identity_is_refused_with_the_field_and_both_values(
    features: FeatureSet, store: Store, samples: Samples, manifest: Make
) -> None:
    other = manifest(identity={"encoder": {"weights": "abc"}, "extraction": {"pooling": ["mean"]}})
    with pytest.raises(FingerprintError, match=r"extraction\.pooling: stored \['cls'\], this run \['mean'\]") as caught:
        store.allocate(other, samples)
    assert features.fingerprint[:12] in str(caught.value)
    assert other.fingerprint[:12] in str(caught.value)


def test_a_write_that_is_not_exactly_one_shard_is_refused(features: FeatureSet, values: Values) -> None:
    with pytest.raises(ValueError, match="not one of its shards"):
        write_shard(features, Shard(10, 74), {})
    with pytest.raises(ValueError, match="written whole"):
        write_shard(features, Shard(0, 64), {"embed": values["embed"][:63]})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_name_layer_and_sample(features: FeatureSet, values: Values, bad: float) -> None:
    part = values["block.00"][64:128].copy()
    part[3, 2] = bad
    with pytest.raises(StructureError, match=re.escape(f"{bad} in layer block.00, sample item67")):
        write_shard(features, Shard(64, 128), {"block.00": part})
    assert features.verify() == []


def test_float16_overflow_is_an_error_and_can_be_widened(
    store: Store, samples: Samples, values: Values, manifest: Make, fill: Fill
) -> None:
    values["block.01"][130, 0] = 70000.0
    features = store.allocate(manifest(), store.put_samples(samples))
    with pytest.raises(
        Float16OverflowError, match=r"70000 in layer block.01, sample item130 .* beyond float16's 65504"
    ) as caught:
        fill(features, values)
    widened = features.widen(caught.value.column)
    assert {name for names in list(widened.pending().values())[:2] for name in names} == {"block.01"}
    fill(widened, values)
    again = store["toy/train/vit"]
    assert again.verify() == []
    np.testing.assert_array_equal(again.rows("block.01"), values["block.01"])
    assert again.rows("block.00").dtype == np.float16


def test_skipped_rows_are_counted_and_read_as_nan(
    store: Store, samples: Samples, values: Values, manifest: Make, fill: Fill
) -> None:
    features = store.allocate(manifest(), store.put_samples(samples))
    shard = features.manifest.shards[1]
    write_shard(features, shard, {n: v[64:128] for n, v in values.items()}, skipped={70: "truncated JPEG"})
    fill(features, values)
    assert features.skipped == {70: "truncated JPEG"}
    assert not features.valid[70]
    assert features.valid.sum() == 299
    assert np.isnan(features.rows("embed", 70, 71)).all()
    assert features.verify() == []


def test_a_reader_during_a_write_sees_only_done_shards(
    store: Store, samples: Samples, values: Values, manifest: Make
) -> None:
    features = store.allocate(manifest(), store.put_samples(samples))
    write_shard(features, Shard(64, 128), {name: part[64:128] for name, part in values.items()})
    assert features.state == "1 of 5 shards"
    np.testing.assert_array_equal(features.rows("embed", 64, 128), values["embed"][64:128].astype(np.float16))
    with pytest.raises(StructureError, match="rows 0-63 are not written yet"):
        features.rows("embed", 60, 70)
    group = zarr.open_group(store.folder("features", "toy", "train", "vit").url, mode="r")
    with zarr.config.set({"array.read_missing_chunks": True}):  # zarr's default, which a user may have turned off
        assert np.isnan(group["embed"][0:5]).all()


def test_zarr_reads_every_shard_though_it_makes_up_no_chunk(
    store: Store, samples: Samples, values: Values, manifest: Make
) -> None:
    """A shard of which every sample was skipped holds zarr's fill value, which zarr itself would not have written."""
    features = store.allocate(manifest(), store.put_samples(samples))
    for shard in features.manifest.shards:
        skipped = dict.fromkeys(range(64, 128), "cut short") if shard.start == 64 else {}
        part = {name: part[shard.start : shard.stop] for name, part in values.items()}
        write_shard(features, shard, part, skipped=skipped)
    with zarr.config.set({"array.read_missing_chunks": False}):
        stored = zarr.open_group(features.files.url + "/" + features.prefix, mode="r")["embed"][:]
        lazy = features.to_xarray()["embed"].values
    np.testing.assert_array_equal(stored, features.rows("embed"))
    np.testing.assert_array_equal(lazy, features.rows("embed").astype(np.float32))
    assert np.isnan(stored[64:128]).all()


def test_a_second_writer_is_refused_with_who_holds_it(features: FeatureSet) -> None:
    shard = features.manifest.shards[0]
    with (
        ShardWriter(features, shard) as writer,
        pytest.raises(HeldError, match=r"rows 0-63, is being written by process \d+ on"),
    ):
        write_shard(features, shard, {})
    with ShardWriter(features, shard) as writer:
        assert features.files.exists(writer.lease.key)
    assert not features.files.exists(writer.lease.key)


def test_what_is_handed_over_after_the_lease_was_given_back_is_not_written(features: FeatureSet) -> None:
    shard = features.manifest.shards[0]
    writer = ShardWriter(features, shard).acquire()
    writer.release()
    before = tree(Path(features.files.url))
    with pytest.raises(RuntimeError, match="lease was given back"):
        writer.put("pooled", range(len(shard)), np.ones((len(shard), features.column("pooled").width), np.float32))
    assert tree(Path(features.files.url)) == before


def test_the_manifest_counts_when_all_else_is_there(features: FeatureSet, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = LocalFiles.write

    def noted(self: LocalFiles, key: str, *parts: bytes) -> None:
        write(self, key, *parts)
        written.append(key.removeprefix(f"{features.prefix}/"))

    monkeypatch.setattr(LocalFiles, "write", noted)
    features.widen(features.layers[0])
    assert written[-2:] == ["zarr.json", "manifest.json"]
    assert {f"{layer}/zarr.json" for layer in features.layers} <= set(written[:-2])


def test_a_file_that_cannot_be_written_is_told_when_the_others_are(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    (tmp_path / "a").write_bytes(b"")  # no folder
    with pytest.raises(OSError, match="a"):
        files.write_together({"a/b": b"1", "c/d": b"2", "e": b"3"})
    assert (files.read("c/d"), files.read("e")) == (b"2", b"3")


def test_a_dead_writer_holds_nothing(features: FeatureSet) -> None:
    lease: Lease = lease_of(features, features.manifest.shards[0])
    with lease:
        body = json.loads(features.files.read(lease.key))
    body["started"] = "1"  # the same process number, used by a process that is gone
    assert features.files.create(lease.key, json.dumps(body).encode())
    with lease_of(features, features.manifest.shards[0]) as taken:
        assert json.loads(features.files.read(taken.key))["token"] != body["token"]


def test_unknown_names_offer_the_nearest(features: FeatureSet, store: Store) -> None:
    with pytest.raises(StructureError, match=r"Unknown layer 'block_00'.*block\.00"):
        features.rows("block_00")
    with pytest.raises(StructureError, match=r"Unknown feature set 'toy/train/vot'.*toy/train/vit"):
        store["toy/train/vot"]


@pytest.mark.parametrize(("written", "remedy"), [(99, "Install a newer version"), (1, "Extract again")])
def test_a_store_of_another_format_is_refused(features: FeatureSet, store: Store, written: int, remedy: str) -> None:
    key = f"{features.prefix}/manifest.json"
    body = json.loads(store.files.read(key)) | {"format": written}
    store.files.write(key, json.dumps(body).encode())
    with pytest.raises(StructureError, match=rf"format {written}; this version reads 2\. {remedy}"):
        store["toy/train/vit"]


@pytest.mark.parametrize("name", ["../x", "a/b", "", "done", "x\n", "..", "a b"])
def test_a_name_cannot_lead_outside_or_collide(manifest: Make, name: str) -> None:
    with pytest.raises(StructureError, match="cannot"):
        manifest(dataset=name)


def test_memory_store_is_the_same(samples: Samples, values: Values, manifest: Make, fill: Fill) -> None:
    store = open_store("memory://feature-set-test")
    features = store.allocate(manifest(), store.put_samples(samples))
    fill(features, values)
    assert store.keys() == ["toy/train/vit"]
    assert features.verify() == []
    np.testing.assert_array_equal(features.to_xarray()["pooled"].values, values["pooled"])


def test_errors_survive_pickling() -> None:
    from structure.store.errors import BadSampleError

    error = pickle.loads(pickle.dumps(BadSampleError("a.png", "truncated")))
    assert (error.item, error.reason, str(error)) == ("a.png", "truncated", "a.png: truncated")


def test_damage_in_every_file_is_found(features: FeatureSet, tmp_path: Path) -> None:
    root = tmp_path / "store"
    random = np.random.default_rng(1)
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    assert len(files) > 30
    for path in files:
        good = path.read_bytes()
        flipped = bytearray(good)
        flipped[int(random.integers(len(good)))] ^= 1 << int(random.integers(8))
        for bad in (bytes(flipped), good[: len(good) // 2], None):
            if bad is None:
                path.unlink()
            else:
                path.write_bytes(bad)
            try:
                faults = [str(fault) for fault in open_store(root)["toy/train/vit"].verify()]
            except (DamageError, StructureError) as error:
                faults = [str(error)]
            assert faults, f"{path} {'deleted' if bad is None else 'changed'}: not noticed"
            path.write_bytes(good)
    assert open_store(root)["toy/train/vit"].verify() == []
