"""Every Python block of these pages runs, in order, in a folder of its own; every command in them is understood."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from structure.cli.main import app, run
from structure.pipeline import align, extract
from structure.pipeline.aligners import TrainingOptions

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = ("aligners", "concepts", "python-api", "scaling", "your-encoder")
"""Those with Python alone; that of store-format.md runs where tokens are there to be read."""


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of these languages; every fence is looked at, so that none closes where another one opens."""
    fenced = re.findall(r"^```([^\n]*)\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [body for language, body in fenced if language in languages]


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_the_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if page == "aligners":  # it is about an aligner that is there
        scenes = ["bundled:scenes-vit", "bundled:scenes-text"]
        extract(scenes, "scenes:60", store="structure-store", layers=["block.03"])
        align("last", store="structure-store", options=TrainingOptions(method="ridge"), name="my-aligner")
    codes = blocks(DOCS / f"{page}.md", "python")
    assert codes
    for code in codes:
        names = {"store": tmp_path / "store", "picture": Image.new("RGB", (64, 64), "red")}
        exec(compile(code, f"{page}.md", "exec"), names)


@pytest.mark.parametrize("page", [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda path: path.stem)
def test_the_commands_of_the_page_are_understood(page: Path) -> None:
    """Each parses as it stands: its name, its options, its arguments."""
    shells = "\n".join(blocks(page, "", "sh"))
    for line in re.findall(r"(?:^|[ \"])structure ([a-z][^&|;>\"\n]*)", shells, flags=re.MULTILINE):
        command: Any = typer.main.get_command(app)
        words = shlex.split(line)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context(line, words)


def test_the_page_on_your_own_data_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python, then its commands one after the other."""
    monkeypatch.chdir(tmp_path)
    page = DOCS / "your-data.md"
    exec(compile(blocks(page, "python")[0], "your-data.md", "exec"), {})
    lines = [line for block in blocks(page, "") for line in block.splitlines()]
    assert [run(shlex.split(line)[1:]) for line in lines if " run " not in line] == [0, 0, 0, 0]


def test_the_recipe_of_own_pairs_runs_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one seed; its layers are few, so that the best may be the last ones, which are then trained once."""
    monkeypatch.chdir(tmp_path)
    page = DOCS / "your-data.md"
    exec(compile(blocks(page, "python")[0], "your-data.md", "exec"), {})
    (line,) = [line for block in blocks(page, "") for line in block.splitlines() if " run " in line]
    changes = [
        "align.seeds=[1]",
        "align.grid.2.options.epochs=20",
        "extract.layers=[block.02, block.03]",
        "align.grid.0.options={candidates: [ridge]}",
    ]
    given = [word for change in changes for word in ("--set", change)]
    assert run([*shlex.split(line)[1:], *given, "--json", "--quiet"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert not done["failed"]
    methods = {variant.split("method=")[1].split()[0] for variant in done["aligners"]}
    assert methods == {"auto", "linear", "ridge", "kernel-csa", "asif"}
    assert len(done["aligners"]) == 11
    assert all(row["low"] <= row["value"] <= row["high"] for row in done["means"])


def test_the_walk_with_a_table_as_people_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every command of it, and every line of its answer as far as the page shows it."""
    monkeypatch.chdir(tmp_path)
    page = DOCS / "your-data.md"
    exec(compile(blocks(page, "python")[1], "your-data.md", "exec"), {})
    (suite,) = blocks(page, "yaml")
    Path("clinic.yaml").write_text(suite)
    assert walked(blocks(page, "console")[:-1], capfd) == 10


def test_the_walk_with_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = DOCS / "your-data.md"
    exec(compile(blocks(page, "python")[2], "your-data.md", "exec"), {})
    assert walked(blocks(page, "console")[-1:], capfd) == 4


def walked(sessions: list[str], capfd: pytest.CaptureFixture[str]) -> int:
    """Every command of these, and every line of its answer as far as the page shows it; how many there are."""
    commands = 0
    for session in sessions:
        for part in re.split(r"^\$ structure ", session, flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            code = run(shlex.split(command))
            said = re.sub(r"\s+", "", "".join(capfd.readouterr()))  # tables wrap where they like
            assert code == int(any(line.startswith(("structure: ", "error ")) for line in shown)), (command, said)
            for line in shown:
                pieces = [re.escape(re.sub(r"\s+", "", piece)) for piece in line.split("...")]
                assert re.search(".*?".join(pieces), said), (command, line, said)
            commands += 1
    return commands


def test_the_security_page_names_every_command_that_may_run_a_models_code() -> None:
    (listed,) = re.findall(r"`--trust-remote-code` is given \(to (.*?);", (DOCS / "security.md").read_text(), re.DOTALL)
    for name, command in offered(typer.main.get_command(app), ""):
        if any("--trust-remote-code" in parameter.opts for parameter in command.params):
            assert f"`{name}`" in listed


def offered(command: Any, name: str) -> list[tuple[str, Any]]:
    """Every command with its name."""
    below = getattr(command, "commands", {})
    return [
        (name, command),
        *(found for word, inner in below.items() for found in offered(inner, f"{name} {word}".strip())),
    ]


def test_the_readme_leads_to_the_index_and_this_to_every_page() -> None:
    assert "docs/README.md" in (DOCS.parent / "README.md").read_text()
    index = (DOCS / "README.md").read_text()
    pages = [path.relative_to(DOCS).as_posix() for path in sorted(DOCS.rglob("*.md"))]
    assert [page for page in pages if page != "README.md" and f"({page})" not in index] == []


def test_the_page_on_using_an_aligner_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands and its Python, one after the other."""
    pytest.importorskip("faiss")
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "using-your-aligner.md").read_text()
    count = 0
    for language, body in re.findall(r"^```([^\n]*)\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL):
        if language == "python":
            exec(compile(body, "using-your-aligner.md", "exec"), {})
        for line in body.splitlines() if not language else ():
            assert run([*shlex.split(line)[1:], "--quiet"]) == 0, line
            count += 1
    assert count == 19
    assert Path("found.html").stat().st_size > 10_000
    assert Path("labels.csv").read_text().count("\n") == 13
