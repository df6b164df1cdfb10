"""Every Python block of these pages runs, in order, in a folder of its own; every command in them is understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from structure.cli.main import run

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = ("concepts", "your-data", "your-encoder", "python-api", "security")


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / f"{page}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_the_python_of_the_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for code in blocks(page, "python"):
        exec(compile(code, f"{page}.md", "exec"), {})


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_the_page_are_understood(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    for line in [line for block in blocks(page, "") for line in block.splitlines() if line.startswith("structure ")]:
        words = shlex.split(line)[1:]
        command = words[:2] if words[:2] == ["datasets", "check"] else words[:1]
        assert run([*command, "--help"]) == 0
        shown = capsys.readouterr().out
        assert all(word in shown for word in words if word.startswith("--")), line


def test_the_readme_leads_to_every_page() -> None:
    readme = (DOCS.parent / "README.md").read_text()
    assert [path.name for path in sorted(DOCS.glob("*.md")) if f"docs/{path.name}" not in readme] == []
