"""mteb on an exported model: the page that shows it works as it stands, with the numbers of this package."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from structure.cli.main import run
from structure.store.without_warnings import without_warnings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "mteb.md"


def test_the_page_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four tasks of three kinds; the page itself compares their scores."""
    pytest.importorskip("mteb", reason="the package mteb is not installed: pip install 'structure-align[mteb]'")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    compared = 0
    for language, body in re.findall(r"^```([^\n]*)\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL):
        for line in body.splitlines() if not language else ():
            assert run([*shlex.split(line)[1:], "--quiet"]) == 0, line
        if language == "python":
            with without_warnings():  # mteb's own
                exec(compile(body, "mteb.md", "exec"), names)
            compared += body.count("\nassert ")
    assert compared == 4
    scores = names["scores"]
    assert isinstance(scores, dict)
    assert {name: scores[name]["main_score"] > 0.05 for name in scores} == dict.fromkeys(scores, True)
