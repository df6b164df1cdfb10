"""The guides: every block of Python and every command of a page, in order, in a folder of its own.

The bundled encoders stand in for those of the pages, which read the same data more slowly; rankings and
selections try less.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from pathlib import Path

import pytest

from structure.cli.main import run

GUIDES = Path(__file__).resolve().parents[1] / "docs" / "guides"
STAND_IN = {"efficientnet-lite0": "bundled:scenes-vit", "minilm": "bundled:scenes-text"}
CHEAPER = {"rank-layers": ["--calibrate", "20", "--no-forecast"], "align": ["--candidates", "ridge"]}
MADE = {
    "medicine": ("labels.csv", "found.html"),
    "remote-sensing": ("cover.csv", "found.html"),
    "products": ("found.html", "vectors.parquet"),
    "audio": ("sounds.csv",),
    "features": ("exported/aligner.safetensors",),
}
"""What a page leaves behind."""


def steps(page: Path) -> list[tuple[str, str]]:
    """Language and text of every fenced block, those inside lists too."""
    found = re.findall(r"^( *)```([^\n]*)\n(.*?)^\1```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [(language, textwrap.dedent(body)) for _, language, body in found]


def command(line: str) -> list[str]:
    words = [STAND_IN.get(word, word) for word in shlex.split(line)[1:]]
    for name in ("--vision", "--text"):  # a name in the store has no library before it
        if name in words:
            place = words.index(name) + 1
            words[place] = words[place].removeprefix("bundled:")
    return words if "--method" in words else [*words, *CHEAPER.get(words[0], [])]


@pytest.mark.parametrize("name", MADE)
def test_the_guide_works_as_it_stands(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, body in steps(GUIDES / f"{name}.md"):
        if language == "python":
            exec(compile(body, f"{name}.md", "exec"), names)
        for line in body.splitlines() if not language else ():
            assert run(command(line)) == 0, (line, capsys.readouterr())
    assert [file for file in MADE[name] if not Path(file).is_file()] == []


def test_every_guide_is_run() -> None:
    assert sorted(MADE) == sorted(page.stem for page in GUIDES.glob("*.md"))
