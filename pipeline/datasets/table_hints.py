"""What to type where a table's columns, or its paths, are not what was expected: found by looking at the files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from structure.pipeline.datasets.image_files import VISUAL_SUFFIXES
from structure.pipeline.datasets.spec import typed
from structure.store.errors import nearest

_TEXT_NAMES = ("text", "title", "description", "sentence", "comment", "report", "alt_text", "prompt", "txt", "name")


def image_hint(first: Sequence[Mapping[str, Any]], names: Sequence[str], folder: Path) -> dict[str, str]:
    """The option that names the column of the images, and the ending that its cells lack; empty where no column
    leads to files or is called alike."""
    for name in names:
        cells = _texts(first, name)
        if cells and all((folder / cell).is_file() for cell in cells):
            return {"image": name}
        ending = ending_of(cells, folder)
        if ending:
            return {"image": name, "ending": ending}
    close = nearest("image", names, most=1) or [name for name in names if "file" in name.casefold()][:1]
    return {"image": close[0]} if close else {}


def ending_of(cells: Sequence[str], folder: Path) -> str:
    """The ending (`.jpg`) with which all cells are files in `folder`; "" without one."""
    for suffix in sorted(VISUAL_SUFFIXES):
        for ending in (suffix, suffix.upper()):
            if cells and all((folder / f"{cell}{ending}").is_file() for cell in cells):
                return ending
    return ""


def caption_hint(first: Sequence[Mapping[str, Any]], names: Sequence[str], used: Iterable[str]) -> dict[str, str]:
    """The option that names the column of the texts: one of the usual names, else the one with the longest texts."""
    free = [name for name in names if name not in set(used)]
    usual = [name for word in _TEXT_NAMES for name in free if name.strip().casefold() == word]
    lengths = {
        name: sum(map(len, _texts(first, name))) for name in free if any(" " in cell for cell in _texts(first, name))
    }
    best = usual[:1] or sorted(lengths, key=lambda name: -lengths[name])[:1]
    return {"caption": best[0]} if best else {}


_CLASS_NAMES = (
    "class",
    "classes",
    "category",
    "target",
    "labels",
    "class_name",
    "label_name",
    "species",
    "diagnosis",
    "y",
)


def label_hint(names: Sequence[str]) -> str:
    """The column of the classes by one of their usual names, "" without one."""
    usual = [name for word in _CLASS_NAMES for name in names if name.strip().casefold() == word]
    return usual[0] if usual else ""


def folder_with(paths: Sequence[str], folder: Path) -> str:
    """The sub-folder of `folder`, at most two deep, below which all of `paths` exist; "" without one."""
    tops = [entry for entry in sorted(os.scandir(folder), key=lambda entry: entry.name) if entry.is_dir()]
    inner = [entry for top in tops for entry in sorted(os.scandir(top), key=lambda entry: entry.name) if entry.is_dir()]
    for entry in [*tops, *inner]:
        if paths and all(os.path.isfile(os.path.join(entry.path, path)) for path in paths):
            return os.path.relpath(entry.path, folder)
    return ""


def spelled(file: Path, given: Mapping[str, Sequence[str]], more: Mapping[str, str]) -> str:
    """`'pairs:FILE?image=ID&ending=.jpg'`: the name that was given with further options, as it is typed."""
    pairs = [(name, value) for name, values in given.items() for value in values] + list(more.items())
    quoted = "&".join(
        f"{name}={value.replace('%', '%25').replace('&', '%26').replace('?', '%3F')}" for name, value in pairs
    )
    return typed(f"pairs:{file}?{quoted}" if quoted else f"pairs:{file}")


def _texts(first: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    cells = [row.get(name) for row in first]
    return [str(cell) for cell in cells if isinstance(cell, str | int) and str(cell).strip()]
