"""The texts in a cell of a table: text, lists of it, and objects that hold it in a field."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

TEXT_FIELDS = ("raw", "caption", "captions", "text", "sentence", "sentences")
"""Where the text stands in a cell that is an object, first one first."""


def texts_in(cell: Any, field: str = "") -> Iterator[Any]:
    """The texts of `cell`, of its objects those in `field` ("": in the first of `TEXT_FIELDS` that they have). What is
    no text is given as it is; nothing for an empty cell."""
    if isinstance(cell, Mapping):
        name = field or next((name for name in TEXT_FIELDS if name in cell), None)
        if name is None:
            yield cell
        else:
            yield from texts_in(cell.get(name))
    elif isinstance(cell, Sequence) and not isinstance(cell, str | bytes):
        for part in cell:
            yield from texts_in(part, field)
    elif cell is not None:
        yield cell


def listed_texts(cell: Any) -> tuple[str, ...] | None:
    """The texts of a cell that holds a list or an object of them written as text: as JSON, or as Python prints it.
    None for any other."""
    text = cell.strip() if isinstance(cell, str) else ""
    if not (text.startswith(("[", "{")) and text.endswith(("]", "}"))):
        return None
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        try:
            loaded = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    texts = list(texts_in(loaded))
    return tuple(texts) if texts and all(isinstance(one, str) for one in texts) else None


def are_listed(cells: Sequence[Any]) -> bool:
    """Whether all of these cells but the empty ones hold lists written as text: nobody writes each caption so."""
    filled = [cell for cell in cells if cell is not None and cell != ""]
    return bool(filled) and all(listed_texts(cell) is not None for cell in filled)
