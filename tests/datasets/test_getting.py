"""Downloads from a real server on loopback: interrupted, resumed, changed, damaged, unpacked."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from structure.pipeline.datasets import benchmark_folders, get_dataset
from structure.pipeline.datasets import published_classification as raw_kind
from structure.pipeline.datasets.catalogue import Download, Raw
from structure.pipeline.datasets.download import fetch
from structure.pipeline.datasets.unpacking import unpack
from structure.pipeline.progress import Event, Note, Progress
from structure.store.errors import DamageError, NotPresentError, StructureError

DATA = os.urandom(3_000_000)


class Server(ThreadingHTTPServer):
    """`files`: path -> (bytes, ETag). The next answer stops after `stop_after` bytes; `ranges` False ignores Range."""

    files: dict[str, tuple[bytes, str]]
    stop_after: int | None = None
    ranges = True
    asked: list[tuple[str, str]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append((self.path, wanted))
        if self.path not in self.server.files:
            self.send_error(404)
            return
        data, tag = self.server.files[self.path]
        start = 0
        if wanted and self.server.ranges and self.headers.get("If-Range") in (None, tag):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        stop, self.server.stop_after = self.server.stop_after, None
        self.wfile.write(data[start:] if stop is None else data[start : start + stop])
        self.close_connection = True

    def log_message(self, *ignored: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.files, running.asked = {"/data.bin": (DATA, '"one"')}, []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def link(server: Server, name: str = "data.bin", **more: Any) -> Download:
    return Download(f"http://127.0.0.1:{server.server_port}/{name}", **more)


MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()


def test_a_download_that_broke_off_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    told: list[Event] = []
    server.stop_after = 1_200_000
    with pytest.raises(DamageError, match="broke off after 1,200,000 of 3,000,000 bytes.*run the same command again"):
        fetch(link(server, md5=MD5), tmp_path)
    assert (tmp_path / "data.bin.part").stat().st_size == 1_200_000
    path = fetch(link(server, md5=MD5), tmp_path, on_event=told.append)
    assert path.read_bytes() == DATA
    assert server.asked == [("/data.bin", ""), ("/data.bin", "bytes=1200000-")]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data.bin"]
    progress = [event for event in told if isinstance(event, Progress)]
    assert (progress[0].done > 1_200_000, progress[-1].done, progress[-1].total) == (True, 3_000_000, 3_000_000)
    fetch(link(server, md5=MD5), tmp_path)
    assert len(server.asked) == 2  # a file that is there is checked, not fetched


@pytest.mark.parametrize("change", ["another version", "no ranges", "no etag"])
def test_a_part_that_cannot_go_on_begins_again(server: Server, tmp_path: Path, change: str) -> None:
    if change == "no etag":
        server.files["/data.bin"] = (DATA, "")
    server.stop_after = 500_000
    with pytest.raises(DamageError):
        fetch(link(server), tmp_path)
    new = DATA[::-1]
    server.files["/data.bin"] = (new, '"two"')
    server.ranges = change != "no ranges"
    told: list[Event] = []
    assert fetch(link(server), tmp_path, on_event=told.append).read_bytes() == new
    assert any(isinstance(event, Note) and "begins again; had 500,000 bytes" in event.text for event in told)


def test_a_wrong_checksum_keeps_nothing(server: Server, tmp_path: Path) -> None:
    for kind in ("md5", "sha256"):
        with pytest.raises(DamageError, match=rf"has {kind} \w+ and its publisher states 0+ "):
            fetch(link(server, **{kind: "0" * 32}), tmp_path)
        assert not list(tmp_path.glob("*.bin*.part"))
    assert not (tmp_path / "data.bin").exists()
    fetch(link(server, sha256=hashlib.sha256(DATA).hexdigest()), tmp_path)


def test_a_whole_part_is_taken(server: Server, tmp_path: Path) -> None:
    """Killed after the last byte and before the rename."""
    (tmp_path / "data.bin.part").write_bytes(DATA)
    (tmp_path / "data.bin.part.etag").write_text('"one"')
    assert fetch(link(server, md5=MD5), tmp_path).read_bytes() == DATA


def test_servers_that_do_not_have_it_or_are_not_there(server: Server, tmp_path: Path) -> None:
    with pytest.raises(NotPresentError, match="answers 404"):
        fetch(link(server, "other.bin"), tmp_path)
    with pytest.raises(NotPresentError, match="cannot be reached"):
        fetch(Download("http://127.0.0.1:9/data.bin"), tmp_path)


def tar_of(members: dict[str, bytes], **links: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return buffer.getvalue()


@pytest.fixture(params=["tarfile with filters", "tarfile before 3.11.4"])
def each_tarfile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "tarfile before 3.11.4":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    elif not hasattr(tarfile, "data_filter"):
        pytest.skip("this Python has no filters")


@pytest.mark.usefixtures("each_tarfile")
def test_archives_stay_inside_their_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for data in (tar_of({"../out": b"x"}), tar_of({"a": b"x"}, b="/etc/passwd"), tar_of({"a": b"x"}, b="../../up")):
        (tmp_path / "bad.tgz").write_bytes(data)
        with pytest.raises(StructureError, match="not safe to unpack"):
            unpack(tmp_path / "bad.tgz", tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as content:
        content.writestr("good", b"y")
        content.writestr("../out", b"x")
    with pytest.raises(StructureError, match="'../out' points outside"):
        unpack(tmp_path / "bad.zip", tmp_path / "in")
    (tmp_path / "cut.tgz").write_bytes(tar_of({"a": DATA})[:-1000])
    with pytest.raises(DamageError, match="is damaged"):
        unpack(tmp_path / "cut.tgz", tmp_path / "in")
    assert not list((tmp_path / "in").iterdir())
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("each_tarfile")
def test_archives_merge_into_folders_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "one.tgz").write_bytes(tar_of({"set/a": b"1", "set/deep/b": b"2"}))
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as content:
        content.writestr("set/deep/c", b"3")
    for name in ("one.tgz", "two.zip", "one.tgz"):
        unpack(tmp_path / name, tmp_path / "in")
    files = {path.relative_to(tmp_path / "in").as_posix() for path in (tmp_path / "in").rglob("*") if path.is_file()}
    assert files == {"set/a", "set/deep/b", "set/deep/c"}


def _set(server: Server, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    server.files["/set.tgz"] = (data, '"a"')
    downloads = (link(server, "set.tgz", md5=hashlib.md5(data, usedforsecurity=False).hexdigest()),)
    places = {"test": (("test.txt",),)}
    raw = Raw(
        name="tiny",
        summary="",
        folders=("tiny/set",),
        into="tiny",
        splits=places,
        get="place it in {folder}.",
        downloads=downloads,
    )
    monkeypatch.setattr(raw_kind, "raw_sets", lambda: {"cifar10": raw})


def test_get_fetches_checks_and_unpacks_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(server, monkeypatch, tar_of({"set/test.txt": b"a"}))
    done = get_dataset("cifar10", data_root=tmp_path)
    assert (done.splits, done.fetched) == (("test",), ("set.tgz",))
    assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == ["set"]
    assert get_dataset("cifar10", data_root=tmp_path).fetched == ()
    assert len(server.asked) == 1


def test_get_without_a_network_takes_what_was_placed_there(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tar_of({"set/test.txt": b"a"})
    _set(server, monkeypatch, data)
    del server.files["/set.tgz"]
    with pytest.raises(NotPresentError, match=r"answers 404.*fetch http.*set\.tgz and place .* in .*tiny; then"):
        get_dataset("cifar10", data_root=tmp_path)
    (tmp_path / "tiny" / "set.tgz").write_bytes(data)
    assert get_dataset("cifar10", data_root=tmp_path).splits == ("test",)


def test_an_archive_without_the_set_in_it(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(server, monkeypatch, tar_of({"other/test.txt": b"a"}))
    with pytest.raises(NotPresentError, match="Dataset tiny split test is not on this machine"):
        get_dataset("cifar10", data_root=tmp_path)


def test_names_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotPresentError, match=r"flickr30k cannot be downloaded by a program.*ask for the photos"):
        get_dataset("flickr30k", data_root=tmp_path)
    with pytest.raises(StructureError, match="Did you mean cifar10"):
        get_dataset("cifar1", data_root=tmp_path)
    with pytest.raises(StructureError, match="nothing to download"):
        get_dataset("folder:x", data_root=tmp_path)
    monkeypatch.setattr(benchmark_folders, "hub_obstacle", lambda: "no network")
    with pytest.raises(NotPresentError, match=r"no network.*place the files of the hub's dataset clip-benchmark/"):
        get_dataset("clip-benchmark:wds/vtab/dtd", data_root=tmp_path)
    with pytest.raises(StructureError, match="Did you mean wds/vtab/dtd"):
        get_dataset("clip-benchmark:wds/vtab/dtt", data_root=tmp_path)


def test_a_copy_comes_file_by_file(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"classnames.txt": b"a\nb\n", "0.tar": DATA, "nshards.txt": b"1\n"}
    for name, data in names.items():
        server.files[f"/{name}"] = (data, f'"{name}"')
    listed = [
        (link(server, "classnames.txt"), ""),
        (link(server, "0.tar"), "test"),
        (link(server, "nshards.txt"), "test"),
    ]
    monkeypatch.setattr(benchmark_folders, "hub_obstacle", lambda: "")
    monkeypatch.setattr(benchmark_folders, "_repository", lambda repo: listed)
    server.stop_after = 0  # the first file: broken off before a byte came
    with pytest.raises(DamageError):
        get_dataset("clip-benchmark:wds/vtab/dtd", data_root=tmp_path)
    done = get_dataset("clip-benchmark:wds/vtab/dtd", data_root=tmp_path)
    assert done.splits == ("test",)
    assert (tmp_path / "wds_vtab-dtd" / "test" / "0.tar").read_bytes() == DATA
