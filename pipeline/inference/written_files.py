"""Files that are written for other programs: each appears when it is whole; tables as CSV, Parquet or JSON."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from structure.store.errors import UsageError

TABLES = (".csv", ".parquet", ".json")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write: a file beside `path` that takes its place at the end, and is removed where that is not reached.
    Folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def require_ending(option: str, path: Path, known: Sequence[str]) -> str:
    """The ending of the file's name. Raises UsageError for one that is not known."""
    ending = path.suffix.lower()
    if ending not in known:
        raise UsageError(f"{option} {path}: name a file that ends in {', '.join(known[:-1])} or {known[-1]}.")
    return ending


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Flat rows of one form as CSV, Parquet or JSON, by the file's ending. Raises UsageError for another ending."""
    ending = require_ending("--out", path, TABLES)
    with whole_file(path) as partial:
        if ending == ".parquet":
            pq.write_table(pa.Table.from_pylist(list(rows)), partial)
        elif ending == ".json":
            partial.write_text(json.dumps(list(rows), ensure_ascii=False, indent=1), encoding="utf-8")
        else:
            with partial.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(rows[0])
                writer.writerows([[harmless(value) for value in row.values()] for row in rows])


def harmless(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: text that begins with = + - @, a tab or a line end gets an
    apostrophe before it; numbers stay numbers."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r", "\n"):
        return f"'{value}"
    return value
