"""Files in a folder of this machine: what `view` shows stays what it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structure.store.local_files import LocalFiles


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> LocalFiles:
    files = LocalFiles(tmp_path_factory.mktemp("files"))
    files.write("a", bytes(range(256)) * 64)
    return files


@given(st.integers(0, 2**14 - 1), st.integers(1, 2**14))
def test_a_view_is_the_bytes_of_that_range(files: LocalFiles, start: int, size: int) -> None:
    stop = min(start + size, 2**14)
    shown, whole = files.view("a", start, stop)
    assert (bytes(shown), whole, shown.readonly) == (files.read("a")[start:stop], 2**14, True)


def test_a_file_that_is_too_short_is_told_by_its_size(files: LocalFiles) -> None:
    shown, whole = files.view("a", 5, 2**14 + 1)
    assert (len(shown), whole) == (0, 2**14)
    with pytest.raises(FileNotFoundError):
        files.view("b", 0, 1)


def test_a_view_outlives_what_takes_its_name(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.write("a", b"first")
    shown, _ = files.view("a", 0, 5)
    files.write("a", b"other")
    assert (bytes(shown), files.read("a")) == (b"first", b"other")
    files.remove("a")
    assert bytes(shown) == b"first"
