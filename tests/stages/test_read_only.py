"""A store that cannot be written: what needs no writing is done and says that it is not saved, the rest is refused."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from structure.cli.main import run
from structure.pipeline import align
from structure.store import Store, open_store
from structure.store.errors import ReadOnlyError
from structure.store.local_files import LocalFiles

SUITE = """name: own
version: 1
tasks:
  - {dataset: 'scenes:240', split: train, kind: linear_probe, metric: lp_acc1, train: train, label: shape}
"""


@pytest.fixture
def locked(copied: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Features and an aligner in a folder that nobody may write; any try fails the test that makes it."""
    align("block.03,block.02", store=copied, method="ridge", name="a")

    def refused(*given: object) -> None:
        raise AssertionError(f"written to a store that cannot be: {given[1:2]}")

    for name in ("write", "create", "remove", "remove_tree"):
        monkeypatch.setattr(LocalFiles, name, refused)
    monkeypatch.setattr(LocalFiles, "writable", False)
    return copied


def test_what_needs_no_writing_is_done(locked: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--store", locked.url]
    assert run(["rank-layers", "--k", "5", "--calibrate", "2", "--repeats", "0", *place, "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["best"]
    assert f"{locked.url} cannot be written: the ranking is not saved." in told.err
    for command in (["status"], ["store", "verify"], ["store", "ls"], ["store", "du"], ["store", "gc"]):
        assert run([*command, *place]) == 0
    capsys.readouterr()
    assert run(["report", *place]) == 0
    page = capsys.readouterr()
    assert page.out.startswith("<!doctype html>")
    assert "the page went to stdout" in page.err
    assert run(["report", *place, "--json"]) == 2
    assert run(["report", *place, "--out", str(tmp_path / "report.html")]) == 0
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_an_evaluation_of_saved_features_is_shown(
    locked: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "own.yaml"
    suite.write_text(SUITE)
    assert run(["eval", "--suite", str(suite), "--store", locked.url, "--json"]) == 0
    told = capsys.readouterr()
    assert {row["metric"] for row in json.loads(told.out)["results"]} >= {"lp_acc1"}
    assert "what the evaluation finds is not saved" in told.err


def test_what_must_be_saved_is_refused_before_the_work(locked: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ReadOnlyError, match="cannot be written, and an aligner must be saved there"):
        align("block.03,block.02", store=locked, method="csa", name="b")
    assert align("block.03,block.02", store=locked, method="ridge", name="a").name == "a"  # it is there
    assert run(["store", "gc", "--yes", "--store", locked.url]) == 0


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_write_that_is_forbidden_is_an_answer(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    files = open_store(tmp_path / "store").files
    monkeypatch.setattr(os, "fsync", forbidden)
    with pytest.raises(ReadOnlyError, match=r"cannot be written \(.* at a/b\)\. What is there can be read"):
        files.write("a/b", b"x")
    assert files.keys("") == []
