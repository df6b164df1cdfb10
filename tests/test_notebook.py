"""The example notebook runs, cell after cell, on fewer scenes."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from structure.pipeline.datasets.scenes import DEFAULT_COUNTS

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "first-steps.ipynb"


def test_every_cell_of_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(DEFAULT_COUNTS, "test", 60)
    document = json.loads(NOTEBOOK.read_text())
    names: dict[str, object] = {}
    shown = []
    for cell in document["cells"]:
        assert not cell.get("outputs")  # it ships without results, which would age
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"]).replace("scenes:300", "scenes:80")
        *statements, last = ast.parse(source).body
        exec(compile(ast.Module(statements, []), str(NOTEBOOK), "exec"), names)
        if isinstance(last, ast.Expr):  # what the notebook would show below the cell
            shown.append(eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names))
        else:
            exec(compile(ast.Module([last], []), str(NOTEBOOK), "exec"), names)
    table = shown[-2]
    assert set(table["aligner"]) == {"plain", "regularised"}  # type: ignore[index]
    assert (tmp_path / "notebook-report.html").is_file()
