"""What the README says is what works: its Python runs, its commands exist, and the gate runs its test command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    told = capsys.readouterr().out
    assert "block." in told
    assert told.rstrip().endswith("[]")  # verify found no fault


def test_the_gate_runs_the_test_command_of_the_readme() -> None:
    command = "uv run --extra test pytest"
    assert command in README
    assert command in (ROOT / ".ci" / "run").read_text()
