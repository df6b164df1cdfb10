"""Reports, their tables, search pages and exports say nothing of where things lie on this machine, or whose it is."""

from __future__ import annotations

import re
import shutil
from html import unescape
from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image

from structure.pipeline import align, extract, report, search
from structure.pipeline.stages.export import export
from structure.pipeline.stages.report import page_of
from structure.store import open_store

OWNER = "somebodys-own-folder"


def test_no_document_names_a_folder_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / OWNER
    data = home / "squares"
    (data / "images").mkdir(parents=True)
    rows = ["image,caption"]
    for number in range(24):
        Image.new("RGB", (16, 16), (number * 10, 255 - number * 10, 90)).save(data / "images" / f"{number}.png")
        rows.append(f"images/{number}.png,a square of colour {number}")
    (data / "pairs.csv").write_text("\n".join(rows))
    shutil.copytree(str(files("structure.pipeline.encoders.bundled") / "scenes-text"), home / "text-model")
    store = open_store(home / "stores" / "mine")
    extract(["bundled:scenes-vit", f"hf:{home}/text-model"], f"pairs:{data}/pairs.csv", store=store, workers=0)
    align("last", store=store, method="ridge", test=0.4, name="plain")
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "documents"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    report(store=store, out=out / "report.html", files=out / "files")
    search("a square", store=store, aligner="plain", out=out / "search.html")
    for form in ("safetensors", "clip-benchmark"):
        export("plain", out / form, format=form, store=store)
    for path in out.rglob("*"):
        if path.is_file() and path.suffix != ".json":
            assert OWNER.encode() not in path.read_bytes(), path
    assert OWNER not in (out / "safetensors" / "aligner.json").read_text()
    assert f'"hf:../../{OWNER}/text-model"' in (out / "clip-benchmark" / "aligner.json").read_text()  # how they lie
    page = unescape(re.sub(r"<[^>]*>", "", (out / "report.html").read_text()))
    assert "Report of the store mine." in page
    assert "--store mine" in page  # to be typed where it lies
    assert "pairs:pairs.csv" in page
    monkeypatch.chdir(home)
    assert "Report of the store stores/mine." in unescape(re.sub(r"<[^>]*>", "", page_of(store)))
