"""Another package adds a member to every registry, a file each, and the commands run with them."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.extensions.count_edits import KINDS, from_outside, in_tree

TOY = Path(__file__).parent / "toy"
ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "CONTRIBUTING.md"
SUITE = """\
name: stripes
version: 1
defaults: {split: test}
tasks:
  - {dataset: 'stripes:64', kind: zeroshot_retrieval, metric: image_retrieval_mrr}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("extensions")
    (place / "stripes.yaml").write_text(SUITE)
    return place


def structure(folder: Path, *words: str) -> Any:
    """One command of the command line, in a process that finds the toy package; its JSON document."""
    code = "import sys; from structure.cli.main import run; sys.exit(run(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(TOY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_commands_run_with_members_of_another_package(folder: Path) -> None:
    extracted = structure(
        folder, "extract", "--model", "toy:pixels", "--model", "toy:letters", "--dataset", "stripes:96"
    )
    assert [row["rows"] for row in extracted["features"]] == [96, 96]
    ranking = structure(folder, "rank-layers", "--metric", "jaccard-knn", "--k", "4")
    assert ranking["metric"] == "jaccard_knn"
    assert len(ranking["scores"]) == len(ranking["scores"][0]) == 2
    aligned = structure(folder, "align", "--method", "shrunk-regression", "--set", "shrinkage=0.5", "--name", "toy")
    assert aligned["method"] == "shrunk-regression"
    evaluated = structure(folder, "eval", "--suite", "stripes.yaml", "--aligner", "toy")
    by_metric = {row["metric"]: row for row in evaluated["results"]}
    mrr = by_metric["image_retrieval_mrr"]
    assert mrr["chance"] < mrr["value"] <= 1
    assert mrr["low"] <= mrr["value"] <= mrr["high"]
    exported = structure(folder, "export", "toy", "toy-heads", "--format", "npz")
    assert exported["files"] == ["README.md", "heads.npz"]


def test_the_toy_package_is_a_file_for_each_member() -> None:
    points = configparser.ConfigParser()
    points.read(TOY / "structure_toy-1.0.dist-info" / "entry_points.txt")
    homes = [value.partition(":")[0] for group in points.sections() for value in points[group].values()]
    assert sorted(f"{home}.py" for home in homes) == sorted(path.name for path in TOY.glob("*.py"))


@pytest.mark.parametrize("kind", KINDS)
def test_adding_a_member_takes_a_file_and_a_line(kind: str) -> None:
    inside = in_tree(kind)
    assert inside == {"found": 1, "new_files": 1, "changed_files": 1, "changed_lines": 1}
    assert from_outside(kind)["found"] == 1


def test_the_guide_names_what_is_there() -> None:
    """Each row of the guide: the example, the folder, and a registry whose entries look like the line it speaks of."""
    rows = re.findall(
        r"^\| an? .*? \| `(\w+)` \| `([\w/]+)` \| `([\w/.]+)` \| `(\w+\.py)` \|$", GUIDE.read_text(), re.M
    )
    assert len(rows) == len(KINDS)
    for base, folder, registry, example in rows:
        assert (ROOT / folder).is_dir()
        assert re.search(r"structure\.pipeline\.|_METHODS|_HERE|_HOME|_FORMATS", (ROOT / registry).read_text())
        assert "class " in (TOY / example).read_text()
        assert any(f"class {base}(" in path.read_text() for path in (ROOT / registry).parent.rglob("*.py")), base
