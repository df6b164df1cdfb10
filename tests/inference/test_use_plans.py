"""`--dry-run` of search, label, embed and index: what is pending is told, nothing is written, and then it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from structure.cli.main import run
from structure.pipeline import index, search
from structure.store.local_files import LocalFiles
from tests.inference.conftest import Place


def ahead(capsys: pytest.CaptureFixture[str], place: Place, *command: str) -> list[dict[str, Any]]:
    """The parts of a plan, of which nothing was written."""
    before = {path: path.stat().st_mtime_ns for path in place.root.rglob("*")}
    capsys.readouterr()
    assert run([*command, "--dry-run", "--json", "--quiet", "--store", place.store.url]) == 0
    parts: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["parts"]
    assert {path: path.stat().st_mtime_ns for path in place.root.rglob("*")} == before
    return parts


def test_what_is_pending_is_told_and_gone_once_it_is_done(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faiss")
    out = place.root / "out"
    commands = {
        "search": ["search", "a red circle", "--dataset", "mine"],
        "label": ["label", "mine", "--classes", "red,blue"],
        "embed": ["embed", "mine", "--out", str(out / "e.npy")],
        "index": ["index", "--dataset", "mine", "--out", str(out / "index")],
    }
    for command in commands.values():
        features, aligned, *_ = ahead(capsys, place, *command)
        assert (features["what"], features["rows"], features["pending"]) == ("mine/all/scenes-vit (rows)", 80, 0)
        assert aligned["what"] == "embeddings/ridge/mine/all/scenes-vit (rows)"
        assert (aligned["rows"], aligned["pending"]) == (80, 80)
        assert aligned["disk"] > 0
        assert aligned["seconds"] > 0
    found = search("a red circle", store=place.store)
    assert found.rows == 80
    parts = {name: ahead(capsys, place, *command) for name, command in commands.items()}
    assert {part["pending"] for name in ("search", "label") for part in parts[name]} == {0}
    assert [part["pending"] for part in parts["embed"]] == [0, 0, 80]
    assert parts["index"][2]["what"] == f"{out / 'index' / 'index.faiss'} (rows)"
    assert [part["pending"] for part in parts["index"]] == [0, 0, 80]
    index("mine", out=out / "index", kind="flat", store=place.store)
    (indexed,) = ahead(capsys, place, "search", "a red circle", "--index", str(out / "index"))
    assert (indexed["rows"], indexed["pending"], indexed["disk"]) == (80, 0, 0)
    both = ahead(capsys, place, *commands["search"], "--scores", "csls")
    assert [part["pending"] for part in both] == [0, 0, 0, 0]  # the index was measured with the captions


def test_a_folder_is_probed_and_not_encoded(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    features, aligned = ahead(capsys, place, "search", "a red circle", "--images", str(place.photos))
    assert (features["rows"], features["pending"]) == (80, 80)
    assert features["seconds"] > 0
    assert (aligned["pending"], aligned["seconds"]) == (80, None)
    search("a red circle", store=place.store, images=place.photos)
    assert [part["pending"] for part in ahead(capsys, place, "label", str(place.photos), "--classes", "a,b")] == [0, 0]


def test_a_disk_that_is_too_small_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(LocalFiles, "free", lambda self: 1000)
    assert run(["search", "a circle", "--dry-run", "--store", place.store.url]) == 1
    assert "1,000 free" in capsys.readouterr().err
    assert not Path(place.store.url, "embeddings").exists()
