"""A table as plain lines, for files and pipes."""

from __future__ import annotations

from collections.abc import Sequence

GAP = "  "
"""Keeps two columns apart."""


def plain_lines(rows: Sequence[Sequence[str]], right: Sequence[bool], *, title: str, width: int) -> str | None:
    """The lines that rich would draw of a table without a frame, some ten times as fast; `right` says which columns are
    right-aligned, the first of `rows` has their names. None for what rich has to lay out: cells of several lines or of
    letters that are not one column wide, and more columns than `width`."""
    if not all(cell.isascii() and cell.isprintable() for row in (*rows, [title]) for cell in row):
        return None
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    whole = sum(widths) + len(GAP) * (len(widths) - 1)
    if not widths or whole + len(GAP) > width or len(title) > whole:
        return None
    lines = [title] if title else []
    for row in rows:
        cells = zip(row, widths, right, strict=True)
        lines.append(GAP.join(cell.rjust(size) if is_right else cell.ljust(size) for cell, size, is_right in cells))
    return "".join(f"{line.rstrip()}\n" for line in lines)
