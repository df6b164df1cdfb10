"""Rows of a JSON Lines, CSV, TSV or Parquet file, each with its place, so that an error can name file and line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from structure.store.errors import NotPresentError, StructureError

COLUMNS = ("image", "audio", "caption", "captions", "id", "label", "split")
"""The columns that mean something; all others are left unread."""

LIST = "is one JSON list, make a line of each object: jq -c '.[]' FILE.json > FILE.jsonl"
"""What to do with a file of the usual other form."""


@dataclass(frozen=True)
class Row:
    """`values` of one row (absent and null ones are left out) and where it stands (`line 12`, `row 12`)."""

    place: str
    values: dict[str, Any]


def read_rows(file: Path) -> tuple[list[Row], list[str]]:
    """All rows of `file` in order, and the names of all its columns. In CSV and TSV an empty cell of any column but the
    captions' counts as absent, and a `captions` cell may be a JSON list.

    Raises `NotPresentError` where there is no such file, and `StructureError` with file and line for bytes that are
    not UTF-8, a line that is no JSON object, a row of another length than the header, or a damaged Parquet file.
    """
    readers: dict[str, Callable[[Path, dict[str, None]], Iterator[Row]]] = {
        ".jsonl": _jsonl,
        ".csv": _csv,
        ".tsv": partial(_csv, delimiter="\t"),
        ".parquet": _parquet,
    }
    reader = readers.get(file.suffix.lower())
    if reader is None:
        array = file.suffix.lower() == ".json"
        raise StructureError(
            f"{file} ends in {file.suffix or 'nothing'!r}; a table of pairs is a {', '.join(readers)} file. "
            + (f"If it {LIST}." if array else "Convert it, or rename it if it is one.")
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
                listed = f". If the file {LIST}" if isinstance(values, list) else ""
                raise StructureError(f"{file}, line {number} is not a JSON object {{...}}{listed}: {_start(line)}")
            columns.update(dict.fromkeys(values))
            yield Row(f"line {number}", {name: values[name] for name in COLUMNS if values.get(name) is not None})


def _csv(file: Path, columns: dict[str, None], *, delimiter: str = ",") -> Iterator[Row]:
    called = {",": "comma", "\t": "tab"}[delimiter]
    with file.open(encoding="utf-8-sig", newline="") as text:
        table = csv.reader(text, strict=True, delimiter=delimiter)
        try:
            header = next(table, None)
            if header is None:
                return
            if len(set(header)) != len(header):
                raise StructureError(f"{file}, line 1: a column name appears twice in {', '.join(header)}. Rename one.")
            other = next((mark for mark in ";\t|," if len(header) == 1 and mark in header[0]), None)
            if other is not None:
                raise StructureError(
                    f"{file}, line 1 is one column, {header[0]!r}: its cells are separated by {other!r}, and a "
                    f"{file.suffix} file's by a {called}. Save it with commas as .csv, or with tabs as .tsv."
                )
            columns.update(dict.fromkeys(header))
            begins = table.line_num + 1
            for cells in table:
                if cells and len(cells) != len(header):
                    remedy = (
                        f' a {called} inside a caption needs quotes ("...") around it'
                        if len(cells) > len(header)
                        else ""
                    )
                    raise StructureError(
                        f"{file}, line {begins} has {len(cells)} cells and the header {len(header)}; every row needs "
                        f"as many,{remedy or ' empty ones too'}: {_start(delimiter.join(cells))}"
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
