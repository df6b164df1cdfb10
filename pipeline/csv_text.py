"""Tables as CSV for spreadsheets and other programs: no cell of text is taken for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_text(columns: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    """A head and rows as CSV with line ends as in RFC 4180; None is an empty cell, every text is `harmless`."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    for row in (columns, *rows):
        writer.writerow(["" if value is None else harmless(value) for value in row])
    return table.getvalue()


def harmless(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: text that begins with = + - @, a tab or a line end gets an
    apostrophe before it; numbers stay numbers.

    Source: OWASP, CSV injection.
    """
    if isinstance(value, str) and value[:1] in _FORMULA:
        return f"'{value}"
    return value
