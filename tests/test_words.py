"""The product speaks the field's terms: no private word in help, messages, pages or the report."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from structure.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = [path for path in sorted((ROOT / "configs").rglob("*.yaml")) if path.parent.name != "prompts"]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PRIVATE = {
    r"pictures?": "image",
    r"recordings?": "audio clip",
    r"items?": "sample",
    r"row tables?": "sample index",
    r"sealed": "complete",
    r"due(?! to)": "pending",
    r"waits": "blocked",
    r"kept": "saved, cached",
    r"claim(s|ed)?": "lease",
    r"done marks?": "completion marker",
    r"leftovers?": "orphaned files",
    r"mend(s|ed|ing)?": "repair",
    r"held against": "permutation test",
    r"calibrated": "null-adjusted",
    r"tell(s)? the two apart": "not statistically significant",
    r"holds? zero": "contains zero",
    r"leaves? out zero|leaves? zero out": "excludes zero",
    r"learning-rate test|finder": "learning-rate range test",
    r"held back": "held-out, test fraction",
    r"share_rate": "shared learning rate",
    r"framing": "image preprocessing",
    r"looked at|taken for each other|looking for their": "qualitative examples, confusion matrix, retrieval",
    r"first place|place \d": "rank",
    r"took no part|what the names mean|asks nobody for anything": "excluded samples, glossary, self-contained",
    r"how a large model is held": "device placement and quantization",
    r"val_recall_(images|texts)|structure_(vision|text)": "val_image_retrieval_recall@k, R_S_vision",
}
BANNED = re.compile(r"(?<![\w`/.-])(" + "|".join(PRIVATE) + r")(?![\w`/-])", re.IGNORECASE)
IN_CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]*`|https?://\S+", re.MULTILINE | re.DOTALL)


def private_words(text: str) -> list[str]:
    """Private words in prose; code in backticks and fences is not prose."""
    return [f"{match[0]!r} in {_around(text, match)!r}" for match in BANNED.finditer(IN_CODE.sub("", text))]


def _around(text: str, match: re.Match[str]) -> str:
    plain = IN_CODE.sub("", text)
    return plain[max(0, match.start() - 40) : match.end() + 40].replace("\n", " ")


@pytest.mark.parametrize("file", CONFIGS, ids=lambda path: path.stem)
def test_what_files_of_the_package_say_of_themselves(file: Path) -> None:
    assert private_words(_about(yaml.safe_load(file.read_text()))) == []


def _about(value: Any) -> str:
    """The sentences of a document: every text of several words but for templates of prompts."""
    if isinstance(value, dict):
        return "\n".join(_about(each) for key, each in value.items() if key not in ("templates", "prompts"))
    if isinstance(value, list):
        return "\n".join(map(_about, value))
    return value if isinstance(value, str) and value.count(" ") > 3 else ""


STILTED = re.compile(
    r"\b((is|are|was|were) told|as (it|they) c[ao]mes?|somebody|whoever|by turns|goes on"
    r"|(stands?|lies?|lay) (beside|in)|what became of)\b"
)
"""Turns of phrase that a page does not need: a technical writer says what happens."""


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_pages(page: Path) -> None:
    text = page.read_text()
    assert private_words(text) == []
    assert [match[0] for match in STILTED.finditer(IN_CODE.sub("", text))] == []


def test_help() -> None:
    assert [word for text in _helps(typer.main.get_command(app)) for word in private_words(text)] == []


def _helps(command: Any) -> Iterator[str]:
    yield command.help or ""
    for parameter in command.params:
        yield getattr(parameter, "help", None) or ""
    for inner in getattr(command, "commands", {}).values():
        yield from _helps(inner)


SPEAKS = ("Note", "Progress", "say", "note", "unknown", "table", "Table", "Text", "Section", "Chart", "confirm")
"""Calls whose words a user reads; so are those of every error, and of every assignment in the report's folder."""


def test_messages_and_report() -> None:
    found = []
    for room in ("store", "pipeline", "cli"):
        for path in sorted((ROOT / room).rglob("*.py")):
            if "bundled" not in path.parts:
                found += [f"{path.relative_to(ROOT)}:{line}: {word}" for line, word in _said_in(path)]
    assert found == []


def _said_in(path: Path) -> Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text())
    whole = path.parent.name == "page"
    documented = {id(node.body[0].value) for node in ast.walk(tree) if _has_docstring(node)}
    for node in ast.walk(tree):
        spoken = isinstance(node, ast.Call) and _name(node.func).endswith(("Error", *SPEAKS))
        if not (spoken or (whole and isinstance(node, ast.Module))):
            continue
        for part in ast.walk(node):
            if not isinstance(part, ast.Constant) or not isinstance(part.value, str) or id(part) in documented:
                continue
            # A word alone names a column, but for a unit of progress.
            if " " in part.value.strip() or (spoken and _name(node.func) == "Progress"):
                yield from ((part.lineno, word) for word in private_words(part.value))


def _has_docstring(node: ast.AST) -> bool:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return isinstance(node, kinds) and ast.get_docstring(node) is not None


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def test_a_private_word_is_noticed() -> None:
    assert len(private_words("the picture is kept")) == 2
    assert private_words("`picture` is a column, and the pictured image is cached") == []
