"""docs/scaling.md: its Python runs, and its commands are understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from structure.cli.main import run

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "scaling.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_python_of_the_page_runs(tmp_path: Path) -> None:
    (code,) = blocks("python")
    exec(compile(code, "scaling.md", "exec"), {"store": tmp_path})


def test_every_command_of_the_page_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    commands = re.findall(r"structure ((?:store )?[a-z-]+)((?: [\w./:=-]+)*)", "\n".join(blocks("sh")))
    assert len(commands) >= 10
    for command, options in commands:
        assert run([*command.split(), "--help"]) == 0
        shown = capsys.readouterr().out
        for word in shlex.split(options):
            if word.startswith("--"):
                assert word in shown, command
