"""Rows of a JSON Lines, CSV or Parquet file, each with its place, so that an error can name file and line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structure.store.errors import NotPresentError, StructureError

COLUMNS = ("image", "audio", "caption", "captions", "id", "label", "split")
"""The columns that mean something; all others are left unread."""


@dataclass(frozen=True)
class Row:
    """`values` of one row (absent and null ones are left out) and where it stands (`line 12`, `row 12`)."""

    place: str
    values: dict[str, Any]


def read_rows(file: Path) -> tuple[list[Row], list[str]]:
    """All rows of `file` in order, and the names of all its columns. In CSV an empty cell of any column but the
    captions' counts as absent, and a `captions` cell may be a JSON list.

    Raises `NotPresentError` where there is no such file, and `StructureError` with file and line for bytes that are
    not UTF-8, a line that is no JSON object, a CSV row of another length than the header, or a damaged Parquet file.
    """
    readers = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise StructureError(
            f"{file} ends in {file.suffix or 'nothing'!r}; a table of pairs is a {', '.join(readers)} file. "
            "Convert it, or rename it if it is one."
        )
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise NotPresentError(
            f"{file} {what}; it was looked for at {file.absolute()}. pairs: takes a {', '.join(readers)} file with a "
            "column image (path relative to the file) and caption or captions."
        )
    columns: dict[str, None] = {}
    try:
        rows = list(reader(file, columns))
    except UnicodeDecodeError as error:
        raise StructureError(f"{file} is not UTF-8 text: {error}. Save it as UTF-8.") from None
    if not rows:
        raise StructureError(f"{file} has 0 rows; a dataset has 1 or more.")
    return rows, list(columns)


def _jsonl(file: Path, columns: dict[str, None]) -> Iterator[Row]:
    with file.open(encoding="utf-8-sig", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise StructureError(
                    f"{file}, line {number} is not JSON: {error}. JSON Lines has one object per line: {_start(line)}"
                ) from None
            if not isinstance(values, dict):
                raise StructureError(f"{file}, line {number} is not a JSON object {{...}}: {_start(line)}")
            columns.update(dict.fromkeys(values))
            yield Row(f"line {number}", {name: values[name] for name in COLUMNS if values.get(name) is not None})


def _csv(file: Path, columns: dict[str, None]) -> Iterator[Row]:
    with file.open(encoding="utf-8-sig", newline="") as text:
        table = csv.reader(text, strict=True)
        try:
            header = next(table, None)
            if header is None:
                return
            if len(set(header)) != len(header):
                raise StructureError(f"{file}, line 1: a column name appears twice in {', '.join(header)}. Rename one.")
            columns.update(dict.fromkeys(header))
            begins = table.line_num + 1
            for cells in table:
                if cells and len(cells) != len(header):
                    remedy = (
                        ' a comma inside a caption needs quotes ("...") around it' if len(cells) > len(header) else ""
                    )
                    raise StructureError(
                        f"{file}, line {begins} has {len(cells)} cells and the header {len(header)}; every row needs "
                        f"as many,{remedy or ' empty ones too'}: {_start(','.join(cells))}"
                    )
                if cells:
                    yield Row(f"line {begins}", _cells(file, begins, dict(zip(header, cells, strict=True))))
                begins = table.line_num + 1
        except csv.Error as error:
            raise StructureError(f"{file}, line {table.line_num} is not CSV: {error}.") from None


def _cells(file: Path, number: int, cells: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in COLUMNS:
        cell = cells.get(name, "")
        if name == "captions" and cell.lstrip().startswith("["):
            try:
                values[name] = json.loads(cell)
            except (ValueError, RecursionError) as error:
                raise StructureError(
                    f"{file}, line {number}: captions begins with [ and is not a JSON list: {error}. Write "
                    '["first", "second"], or use the column caption for a single one.'
                ) from None
        elif cell.strip() or (name == "caption" and name in cells and "captions" not in cells):
            values[name] = cell
    return values


def _parquet(file: Path, columns: dict[str, None]) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
        columns.update(dict.fromkeys(schema.names))
        table = pq.read_table(file, columns=[name for name in COLUMNS if name in schema.names])
    except (pa.ArrowException, OSError) as error:
        raise StructureError(f"{file} is not a Parquet file that can be read: {error}") from None
    number = 0
    for batch in table.to_batches():
        for values in batch.to_pylist():
            number += 1
            yield Row(f"row {number}", {name: value for name, value in values.items() if value is not None})


def _start(line: str) -> str:
    line = line.strip()
    return line if len(line) <= 80 else f"{line[:77]}..."
