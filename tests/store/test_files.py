"""Ranges of files: what `view` shows is what is there, and stays what it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structure.store.files import Files
from structure.store.local_files import LocalFiles
from structure.store.remote_files import RemoteFiles


@pytest.fixture(scope="module", params=["folder", "memory"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    folder = tmp_path_factory.mktemp("files")
    files = LocalFiles(folder) if request.param == "folder" else RemoteFiles.open(f"memory://{folder.name}")
    files.write("a", bytes(range(256)) * 64)
    yield files
    files.remove_tree("")


@given(st.integers(0, 2**14 - 1), st.integers(1, 2**14))
def test_a_view_is_the_bytes_of_that_range(files: Files, start: int, size: int) -> None:
    stop = min(start + size, 2**14)
    shown, whole = files.view("a", start, stop)
    assert (bytes(shown), whole, shown.readonly) == (files.read("a")[start:stop], 2**14, True)


def test_a_file_that_is_too_short_is_told_by_its_size(files: Files) -> None:
    shown, whole = files.view("a", 5, 2**14 + 1)
    assert (len(shown), whole) == (0, 2**14)
    with pytest.raises(FileNotFoundError):
        files.view("b", 0, 1)


def test_a_view_outlives_what_takes_its_name(files: Files) -> None:
    files.write("c", b"first")
    shown, _ = files.view("c", 0, 5)
    files.write("c", b"other")
    assert (bytes(shown), files.read("c")) == (b"first", b"other")
    files.remove("c")
    assert bytes(shown) == b"first"
