"""Class names and templates from the text files beside the tars of a webdataset copy."""

from __future__ import annotations

from pathlib import Path

from structure.store.errors import StructureError


def read_class_names(file: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names, one per line, line index = label, and a note for each name that stands there twice (ImageNet's own
    list has two). Empty without the file. Raises `StructureError` for an empty line between names."""
    lines = read_lines(file)
    first: dict[str, int] = {}
    notes = []
    for number, line in enumerate(lines, start=1):
        if not line:
            raise StructureError(
                f"{file}, line {number} is empty; every later name would belong to the wrong label. Name it."
            )
        if line in first:
            notes.append(f"{file}: lines {first[line]} and {number} name the same class {line!r}")
        first.setdefault(line, number)
    return tuple(lines), tuple(notes)


def read_templates(file: Path) -> tuple[str, ...]:
    """The templates, one per line. Empty without the file. Raises `StructureError` for one without `{c}`."""
    lines = read_lines(file)
    for number, line in enumerate(lines, start=1):
        if "{c}" not in line:
            raise StructureError(
                f"{file}, line {number}: the template {line!r} has no {{c}}, so it would say the same of every class. "
                "Put {c} where the class name goes."
            )
    return tuple(lines)


def read_lines(file: Path) -> list[str]:
    """Stripped lines without the empty ones at the end; none without the file."""
    if not file.is_file():
        return []
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StructureError(f"{file} is not UTF-8 text: {error}. Save it as UTF-8.") from None
    return [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []
