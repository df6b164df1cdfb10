"""The shell completes commands, options and names, without torch; every command shows an example."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from structure.cli.main import app, run
from structure.cli.terminal import Terminal
from structure.pipeline.progress import Progress

ASKED = {
    "structure ex": "extract",
    "structure extract --mod": "--model",
    "structure extract --model dino": "dinov2",
    "structure extract --dataset co": "coco",
    "structure align --method kernel": "kernel-csa",
    "structure rank-layers --metric c": "cka",
    "structure eval --suite sc": "scenes",
    "structure run own": "own-pairs",
    "structure eval --aligner mi": "mine",
    "structure store ver": "verify",
}
CODE = """
import contextlib, io, json, os, sys
from structure.cli.main import run
os.environ["_STRUCTURE_COMPLETE"] = "complete_bash"
found = {}
for words in json.loads(sys.argv[1]):
    os.environ |= {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    with contextlib.redirect_stdout(io.StringIO()) as told, contextlib.suppress(SystemExit):
        run([])
    found[words] = told.getvalue().split()
assert not {"torch", "transformers", "timm"} & set(sys.modules)
print(json.dumps(found))
"""


def test_names_are_completed_without_torch(tmp_path: Path) -> None:
    folder = tmp_path / "structure-store" / "aligners" / "mine"
    folder.mkdir(parents=True)
    (folder / "aligner.json").write_text("{}")
    command = [sys.executable, "-c", CODE, json.dumps(list(ASKED))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for words, wanted in ASKED.items():
        assert wanted in found[words], words
        typed = words.split()[-1]
        assert all(word.startswith(typed) for word in found[words]), words


def test_a_damaged_store_completes_to_nothing(tmp_path: Path) -> None:
    from structure.cli import completion

    (tmp_path / "file").write_text("")
    context: Any = SimpleNamespace(params={"store": str(tmp_path / "file" / "none")})
    assert completion.aligners(context, "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_the_shell_is_shown(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda *given: (shell, f"/bin/{shell}"))
    with pytest.raises(SystemExit) as left:
        run(["--show-completion"])
    assert left.value.code in (0, None)
    assert "_STRUCTURE_COMPLETE" in capsys.readouterr().out


def commands(command: Any, name: str) -> list[tuple[str, Any]]:
    """The command and every one below it, by what is typed; hidden ones too."""
    below = getattr(command, "commands", {})
    return [(name, command), *(found for word, inner in below.items() for found in commands(inner, f"{name} {word}"))]


def test_every_help_shows_an_example_that_parses() -> None:
    there = commands(typer.main.get_command(app), "structure")
    assert len(there) > 25
    for name, command in there:
        _, found, example = command.help.partition(f"Example: {name.removesuffix(' show')}")
        assert found, name
        if not hasattr(command, "commands"):
            command.make_context(name, shlex.split(example))


def test_tables_are_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"name": "[red]a[/red]", "value": 0.5}, {"name": "b", "value": None}, {"name": "p", "value": 3.21e-5}]
    Terminal(as_json=False, quiet=False).table(rows, ["name", "value"], title="Things")
    cells = [line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert cells == [["Things"], ["name", "value"], ["[red]a[/red]", "0.500"], ["b", "-"], ["p", "3.2e-05"]]


class Screen(io.StringIO):
    """What a terminal is given."""

    def isatty(self) -> bool:
        return True


def test_a_dumb_terminal_gets_plain_lines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot move the cursor, so a bar would show nothing until the end; and frames are noise read aloud."""
    monkeypatch.setattr(sys, "stdout", Screen())
    monkeypatch.setattr(sys, "stderr", Screen())
    for name, framed in (("xterm", True), ("dumb", False)):
        monkeypatch.setenv("TERM", name)
        terminal = Terminal(as_json=False, quiet=False)
        terminal.table([{"name": "a"}], ["name"])
        assert ("┃" in terminal.out.file.getvalue()) == framed
        with terminal.working() as listener:
            for done in (1, 5):
                listener(Progress("extracting", done, 5, "rows"))
        assert ("\r" in terminal.err.file.getvalue()) == framed
        for stream in (sys.stdout, sys.stderr):
            stream.truncate(0)
            stream.seek(0)
