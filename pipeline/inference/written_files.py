"""Files that are written for other programs: each appears when it is whole; tables as CSV, Parquet or JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from structure.pipeline.csv_text import csv_text
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
            partial.write_text(csv_text(rows[0], (row.values() for row in rows)), encoding="utf-8", newline="")
