"""Stores that are no folder: memory, and an S3 server on loopback; transient faults, leases, reads in parallel."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from structure.store import FeatureSet, Manifest, Samples, StructureError, open_store, remote_files
from structure.store.files import Files
from structure.store.files_at_url import open_files
from structure.store.lease import HeldError
from structure.store.shard_writer import ShardWriter


@pytest.fixture(params=["memory", "s3", "folder"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    place = secrets.token_hex(4)
    if request.param == "folder":
        return open_files(tmp_path)
    base = "memory:/" if request.param == "memory" else request.getfixturevalue("bucket")
    return open_files(f"{base}/{place}")


def test_files_are_the_same_everywhere(files: Files) -> None:
    files.write("a/b/one", b"1", b"23")
    files.write("a/two", b"4")
    assert files.read("a/b/one") == b"123"
    assert (files.size("a/b/one"), files.exists("a/b/none")) == (3, False)
    assert files.keys("") == ["a/b/one", "a/two"]
    assert (files.children(""), files.children("a"), files.children("none")) == (["a"], ["b"], [])
    inner = files.at("a")
    assert inner.keys("") == ["b/one", "two"]
    assert list(inner.holding("one")) == ["b"]
    assert open_files(inner.url).read("b/one") == b"123"
    for missing in (files.read, files.size, files.modified):
        with pytest.raises(FileNotFoundError):
            missing("a/none")
    inner.remove_tree("b")
    files.remove("a/none")
    assert files.keys("") == ["a/two"]


def test_of_many_that_create_or_swap_one_wins(files: Files) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(3):
            key = f"lease{number}"
            assert sum(pool.map(lambda i, key=key: files.create(key, f"{i}".encode()), range(8))) == 1
            seen = files.read(key)
            assert sum(pool.map(lambda i, key=key, seen=seen: files.swap(key, seen, f"new{i}".encode()), range(8))) == 1
            assert not files.swap(key, seen, None)
            assert files.swap(key, files.read(key), None)
            assert not files.exists(key)
            assert not files.swap(key, b"gone", b"back")


@pytest.fixture(params=["memory", "s3"])
def features(
    request: pytest.FixtureRequest,
    samples: Samples,
    values: dict[str, np.ndarray],
    manifest: Callable[..., Manifest],
    fill: Callable[..., None],
) -> FeatureSet:
    base = "memory:/" if request.param == "memory" else request.getfixturevalue("bucket")
    store = open_store(f"{base}/{secrets.token_hex(4)}")
    made = store.allocate(manifest(), store.put_samples(samples))
    fill(made, values)
    return made


def test_a_feature_set_in_object_storage(features: FeatureSet, values: dict[str, np.ndarray]) -> None:
    assert features.verify() == []
    np.testing.assert_array_equal(features.rows("block.01", 10, 290), values["block.01"][10:290].astype(np.float16))
    np.testing.assert_array_equal(features.to_xarray()["pooled"].values, values["pooled"])
    shard = features.manifest.shards[0]
    with ShardWriter(features, shard), pytest.raises(HeldError, match="is being written by process"):
        ShardWriter(features, shard).acquire()
    assert features.files.keys(f"{features.prefix}/claims") == []
    key = f"{features.prefix}/block.00/c/1/0"
    features.files.write(key, features.files.read(key)[:-1])
    assert len(features.verify()) == 1


class Flaky:
    """A file system of which some calls fail first; with `late`, they fail after they have been done."""

    def __init__(self, file_system: Any, failures: int, *, late: bool = False) -> None:
        self._inner, self._left, self._late = file_system, failures, late

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if self._left > 0:
                self._left -= 1
                if self._late:
                    method(*arguments, **options)
                raise ConnectionResetError("the connection broke")
            return method(*arguments, **options)

        return call


def test_transient_faults_are_tried_again_and_others_told(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    if not isinstance(files, remote_files.RemoteFiles):
        pytest.skip("a folder has no network")
    monkeypatch.setattr(remote_files, "FIRST_WAIT", 0.001)
    flaky = remote_files.RemoteFiles(Flaky(files._fs, 3), files._root, files.url)
    flaky.write("a", b"1")
    assert files.read("a") == b"1"
    lost = remote_files.RemoteFiles(Flaky(files._fs, 1, late=True), files._root, files.url)
    assert lost.create("b", b"mine")  # written, and the answer lost: the second attempt meets its own file
    gone = remote_files.RemoteFiles(Flaky(files._fs, 99), files._root, files.url)
    with pytest.raises(StructureError, match="did not answer for a in 6 attempts .ConnectionResetError"):
        gone.read("a")
