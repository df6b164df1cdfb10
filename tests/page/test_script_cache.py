"""A script is kept between commands, and taken only where it is what this user wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from structure.pipeline.page import html, script_cache
from structure.pipeline.page.script_cache import kept

SCRIPT = "let a = '\u00e4 // structure-seal|x';\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(script_cache, "PLACE", tmp_path / "cache")
    return tmp_path / "cache"


def is_made(name: str = "a.js", owner: str = "1.9") -> bool:
    """Whether it has to be made."""
    made = []
    assert kept(name, owner, lambda: made.append(1) or SCRIPT) == SCRIPT
    return bool(made)


def test_it_is_made_once_for_each_version(place: Path) -> None:
    assert is_made()
    assert not is_made()
    assert is_made(owner="2.0")
    assert not is_made(owner="2.0")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a changed byte": lambda path: path.write_bytes(path.read_bytes().replace(b"let", b"var")),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "empty": lambda path: path.write_bytes(b""),
    "without a seal": lambda path: path.write_text("alert(1)"),
    "of another name": lambda path: path.write_bytes(path.with_name("b.js").read_bytes()),
    "open to a group": lambda path: path.chmod(0o660),
    "in a folder open to a group": lambda path: path.parent.chmod(0o770),
    "open to all": lambda path: path.chmod(0o666),
    "in a folder open to all": lambda path: path.parent.chmod(0o777),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_this_user_did_not_write_is_never_taken(place: Path, damage: str) -> None:
    kept("b.js", "1.9", lambda: "alert(2)")
    assert is_made()
    DAMAGES[damage](place / "a.js")
    assert is_made()
    if damage != "a folder":
        assert not is_made()


def test_where_nothing_can_be_kept_it_is_made(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write_text("a file in its place")
    assert is_made()
    monkeypatch.setattr(Path, "is_dir", lambda self: False)
    place.unlink()
    assert is_made()
    assert not place.exists()


def test_the_scripts_of_a_page_are_the_same_from_the_cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "library", html.library.__wrapped__)
    first = html.library()
    assert "window.vegaEmbed" in first
    monkeypatch.setattr(html, "_bundled", lambda: "")
    assert html.library() == first
