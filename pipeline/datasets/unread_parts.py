"""Columns that say which part a row belongs to under a name that nobody knows: `subset`, `phase`, `partition`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from structure.pipeline.datasets.split_names import are_parts, meaning
from structure.pipeline.datasets.table_columns import TableColumns


class UnreadWords:
    """The words of columns that have no meaning here, as long as they are all words for parts."""

    def __init__(self, columns: TableColumns) -> None:
        self.columns = columns
        self.words: dict[str, set[str]] | None = None

    def add(self, values: Mapping[str, Any]) -> None:
        """Take in a row. The first one says which columns may be meant, so that all others cost nothing."""
        if self.words is None:
            meant = {name for names in self.columns.meanings(tuple(values)).values() for name in names}
            self.words = {name: set() for name, cell in values.items() if name not in meant and is_part(cell)}
        for name in list(self.words):
            cell = values.get(name)
            if cell is None or cell == "" or cell in self.words[name]:
                continue
            if is_part(cell):
                self.words[name].add(cell)
            else:
                del self.words[name]

    def parts(self) -> dict[str, set[str]]:
        """The columns that say what is held out, with their words."""
        return {name: words for name, words in (self.words or {}).items() if are_parts(words)}


def is_part(cell: Any) -> bool:
    """Whether a cell is a word for a part (train, test, ...)."""
    return isinstance(cell, str) and meaning(cell.strip()) is not None
