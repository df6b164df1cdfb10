"""Shards that extractors share: an interruption, wherever it falls, leaves no lease."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from structure.store import FeatureSet, Manifest, Samples, Store
from structure.store.leased_shards import LeasedShards
from structure.store.local_files import LocalFiles
from structure.store.shard_writer import lease_of


@pytest.fixture
def empty(store: Store, samples: Samples, manifest: Callable[..., Manifest]) -> FeatureSet:
    """The toy feature set, nothing written."""
    return store.allocate(manifest(), store.put_samples(samples))


def leases(features: FeatureSet) -> list[str]:
    return features.files.keys(f"{features.prefix}/claims")


def test_interrupted_as_the_claim_appears(empty: FeatureSet, monkeypatch: pytest.MonkeyPatch) -> None:
    create = LocalFiles.create

    def interrupted(files: LocalFiles, key: str, data: bytes) -> bool:
        assert create(files, key, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalFiles, "create", interrupted)
    with pytest.raises(KeyboardInterrupt), LeasedShards(empty, empty.pending()) as shards:
        next(iter(shards))
    assert leases(empty) == []


def test_interrupted_as_its_renewal_begins(empty: FeatureSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), LeasedShards(empty, empty.pending()) as shards:
        next(iter(shards))
    assert leases(empty) == []


def test_interrupted_as_the_shard_is_committed(
    empty: FeatureSet, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    def extract() -> None:
        with LeasedShards(empty, empty.pending()) as shards:
            shard = next(iter(shards))
            writer = shards.writer_of(shard)
            assert leases(empty) == [writer.lease.key]
            for name, each in values.items():
                writer.put(name, range(shard.start, shard.stop), each[shard.start : shard.stop])
            monkeypatch.setattr(empty.completion, "write", interrupted)
            shards.commit(shard)

    with pytest.raises(KeyboardInterrupt):
        extract()
    assert leases(empty) == []
    assert empty.pending().keys() == set(empty.manifest.shards)


def test_a_claim_of_somebody_else_stays(empty: FeatureSet) -> None:
    first, *others = empty.manifest.shards
    with lease_of(empty, first) as lease:
        with LeasedShards(empty, empty.pending()) as shards:
            assert list(shards) == others
        assert (list(shards.held), leases(empty)) == ([first], [lease.key])


def test_the_fault_of_a_commit_is_raised_by_a_later_one(
    empty: FeatureSet, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(empty.completion, "write", full)
    begun = []

    def extract() -> None:
        with LeasedShards(empty, empty.pending()) as shards:
            for shard in shards:
                begun.append(shard)
                for name, each in values.items():
                    shards.writer_of(shard).put(name, range(shard.start, shard.stop), each[shard.start : shard.stop])
                shards.commit(shard)

    with pytest.raises(OSError, match="the disk is full"):
        extract()
    assert len(begun) < len(empty.manifest.shards)
    assert leases(empty) == []
