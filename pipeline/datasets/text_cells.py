"""The texts in a cell of a table: text, lists of it, and objects that hold it in a field."""

from __future__ import annotations

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
