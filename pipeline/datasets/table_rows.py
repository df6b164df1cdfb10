"""Rows of a JSON Lines, CSV, TSV, Parquet or JSON file, each with its place, so that an error can name file and
line."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from structure.pipeline.datasets.spec import typed
from structure.pipeline.datasets.table_columns import TableColumns
from structure.pipeline.datasets.table_json import read_json_rows
from structure.pipeline.datasets.text_cells import listed_texts
from structure.pipeline.datasets.text_lines import undecodable
from structure.pipeline.datasets.unread_parts import UnreadWords, is_part
from structure.store.errors import NotPresentError, StructureError

LIST = "is one JSON list, rename it to .json"
"""What to do with a file of the usual other form."""

FIRST = 8
"""Rows that are kept whole, to say which of their columns may be meant."""

_MARKS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " "}


@dataclass(frozen=True)
class Row:
    """`values` of one row by what they mean (absent and null ones are left out) and where it stands (`line 12`,
    `row 12`); `problem`: why it cannot be read, "" for a row that can."""

    place: str
    values: dict[str, Any]
    problem: str = ""


@dataclass(frozen=True)
class TableForm:
    """How a file is written: the separator of its cells ("": that of its ending) and its encoding."""

    sep: str = ""
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        if len(_MARKS.get(self.sep, self.sep)) > 1:
            raise StructureError(f"sep={self.sep} is no separator; it is one character, such as ; or | or tab.")
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise StructureError(
                f"encoding={self.encoding} is unknown. Usual ones are utf-8, cp1252 (Windows), latin-1 and utf-16."
            ) from None

    def separator(self, suffix: str) -> str:
        """The character between two cells of a file with this ending."""
        return _MARKS.get(self.sep, self.sep) or {".tsv": "\t"}.get(suffix, ",")


@dataclass
class PairsTable:
    """`names` are all columns of the file, `first` the first rows as they are; `unread_parts`: columns that have no
    meaning here, and the words for parts (train, test, ...) that are all they hold."""

    rows: list[Row] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    first: list[Mapping[str, Any]] = field(default_factory=list)
    unread_parts: dict[str, set[str]] = field(default_factory=dict)


Raw = tuple[str, Any, str]
"""Place, the values by column, and why they cannot be read."""


@dataclass
class _Source:
    """A file to read, and the names of its columns as far as its reader knows them before the rows."""

    file: Path
    form: TableForm
    columns: TableColumns
    names: dict[str, None] = field(default_factory=dict)


def read_table(file: Path, columns: TableColumns, form: TableForm) -> PairsTable:
    """All rows of `file` in order. In CSV and TSV an empty cell of any column but the captions' counts as absent, and a
    `captions` cell may be a JSON list. A row that cannot be read (bytes that are no text, a line that is no JSON
    object, more or fewer cells than the header) says so in its `problem`.

    Raises `NotPresentError` where there is no such file, and `StructureError` with file and line where half of the rows
    or more cannot be read, for a header or quotation marks that leave it open what is a row, and for a damaged Parquet
    file.
    """
    suffix = file.suffix.lower()
    reader = _READERS.get(suffix)
    if reader is None:
        raise StructureError(
            f"{file} ends in {file.suffix or 'nothing'!r}; a table of pairs is a {', '.join(_READERS)} file. Convert "
            "it, or rename it if it is one."
        )
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise NotPresentError(
            f"{file} {what}; it was looked for at {file.absolute()}. pairs: takes a {', '.join(_READERS)} file with a "
            "column image (path relative to the file) and caption or captions."
        )
    table, source = PairsTable(), _Source(file, form, columns)
    untyped = suffix in (".csv", ".tsv")
    words = UnreadWords(columns)
    for place, values, problem in reader(source):
        if not isinstance(values, Mapping):
            values, problem = {}, problem or "is not an object {...}"
        if values:
            words.add(values)
        source.names.update(dict.fromkeys(values))
        if len(table.first) < FIRST and values:
            table.first.append(values)
        picked = columns.pick(values)
        if untyped:
            picked, problem = _cells(picked, problem)
        table.rows.append(Row(place, picked, problem))
    table.names.extend(source.names)
    table.unread_parts = words.parts()
    if not table.rows:
        raise StructureError(f"{file} has 0 rows; a dataset has 1 or more.")
    require_readable(file, [(row.place, row.problem) for row in table.rows])
    return table


def require_readable(file: Path, problems: Sequence[tuple[str, str]]) -> None:
    """Raises `StructureError` with the first problem where half of the rows or more have one: then the file is another
    than it is taken for, and skipping rows would hide it. `problems`: place and problem of each row, "" for none."""
    bad = [(place, problem) for place, problem in problems if problem]
    if bad and 2 * len(bad) >= len(problems):
        many = f" {len(bad)} of {len(problems)} rows cannot be read." if len(bad) > 1 else ""
        raise StructureError(f"{file}, {at_place(*bad[0])}.{many}")


def at_place(place: str, problem: str) -> str:
    """`line 3 has 2 cells`, `line 3: a caption is empty`."""
    return f"{place}{' ' if problem.startswith(('is ', 'has ')) else ': '}{problem}"


def _text(file: Path, form: TableForm) -> str:
    """The file's text; bytes that are no UTF-8 stay as half surrogate pairs, to be told with their line."""
    data = file.read_bytes()
    named = form.encoding.lower().replace("_", "-")
    if named in ("utf-8", "utf8"):
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise StructureError(
                f"{file} is not UTF-8 text: it begins as UTF-16 does. Type {typed(f'pairs:{file}?encoding=utf-16')}, "
                "or save it as UTF-8."
            )
        return data.decode("utf-8-sig", errors="surrogateescape")
    try:
        return data.decode(form.encoding)
    except UnicodeError as error:
        raise StructureError(f"{file} is not {form.encoding} text: {error}. Name another encoding=.") from None


def _bytes_problem(file: Path, text: str) -> str:
    wrong = undecodable(text)
    return (
        f"is not UTF-8 text ({wrong}); {typed(f'pairs:{file}?encoding=cp1252')} reads it as Windows writes it"
        if wrong
        else ""
    )


def _jsonl(source: _Source) -> Iterator[Raw]:
    file = source.file
    for number, line in enumerate(_text(file, source.form).split("\n"), start=1):
        if not line.strip():
            continue
        place, problem = f"line {number}", _bytes_problem(file, line)
        values: Any = {}
        if not problem:
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                problem = f"is not JSON: {error}. JSON Lines has one object per line: {_start(line)}"
            if not problem and not isinstance(values, dict):
                listed = f". If the file {LIST}" if isinstance(values, list) else ""
                problem = f"is not a JSON object {{...}}{listed}: {_start(line)}"
        yield place, values if isinstance(values, dict) else {}, problem


def _csv(source: _Source) -> Iterator[Raw]:
    file, form = source.file, source.form
    mark = form.separator(file.suffix.lower())
    text = _text(file, form)
    lines = (text if "\n" in text else text.replace("\r", "\n")).split("\n")  # old Macs end lines with \r
    if said := re.fullmatch(r'"?sep=(.)"?\r?', lines[0]):  # a first line for spreadsheets, which is no row
        mark, lines[0] = _MARKS.get(form.sep, form.sep) or said[1], ""
    called = {",": "comma", "\t": "tab", ";": "semicolon"}.get(mark, repr(mark))
    ended = [f"{line}\n" for line in lines[:-1]] + lines[-1:]
    table = csv.reader(ended, strict=True, delimiter=mark)
    header = _header(file, table, mark, called)
    source.names.update(dict.fromkeys(header))
    while True:
        begins = table.line_num + 1
        try:
            cells = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            if table.line_num >= len(ended):
                raise StructureError(f"{file}, line {begins} is not CSV: {error}.") from None
            yield f"line {begins}", {}, f"is not CSV ({error}); quotation marks inside a cell are doubled"
            continue
        if not cells:
            continue
        problem, values = _bytes_problem(file, mark.join(cells)), dict(zip(header, cells, strict=False))
        if problem:
            values = {name: cell for name, cell in values.items() if not undecodable(cell)}
        if len(cells) != len(header):
            more = len(cells) > len(header)
            remedy = f' a {called} inside a caption needs quotes ("...") around it' if more else " empty ones too"
            problem = (
                f"has {len(cells)} cells and the header {len(header)}; every row needs as many,{remedy}: "
                f"{_start(mark.join(cells))}"
            )
            values = {}  # it is not known which cell belongs to which column
            if any("\n" in cell for cell in cells):
                raise StructureError(
                    f"{file}, line {begins}: a quotation mark runs on to line {table.line_num}; {problem}."
                )
        yield f"line {begins}", values, problem


def _header(file: Path, table: Any, mark: str, called: str) -> list[str]:
    try:
        header: list[str] = next(filter(None, table), [])
    except csv.Error as error:
        raise StructureError(f"{file}, line 1 is not CSV: {error}.") from None
    if len(set(header)) != len(header):
        raise StructureError(f"{file}, line 1: a column name appears twice in {', '.join(header)}. Rename one.")
    other = next((sign for sign in ";\t|," if len(header) == 1 and sign in header[0]), None)
    if other is not None and other != mark:
        said = "tab" if other == "\t" else other
        raise StructureError(
            f"{file}, line 1 is one column, {header[0]!r}: its cells are separated by {other!r}, and a {file.suffix} "
            f"file's by a {called}. Type {typed(f'pairs:{file}?sep={said}')}."
        )
    return header


def _cells(picked: dict[str, Any], problem: str) -> tuple[dict[str, Any], str]:
    """Cells of a file without types: empty ones are absent, lists of captions are read."""
    values: dict[str, Any] = {}
    for of, cell in picked.items():
        if of == "captions" and isinstance(cell, str) and cell.lstrip().startswith("["):
            values[of] = list(listed_texts(cell) or ())
            if not values[of] and cell.strip(" []"):
                problem = problem or (
                    f'captions begins with [ and is no list of texts: {_start(cell)}. Write ["first", "second"], or '
                    "use the column caption for a single one"
                )
        elif not isinstance(cell, str) or cell.strip() or (of == "caption" and "captions" not in picked):
            values[of] = cell
    return values, problem


def _parquet(source: _Source) -> Iterator[Raw]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(source.file)
        names = schema.names
        meant = [name for columns in source.columns.meanings(names).values() for name in columns]
        words = [name for name in names if name not in meant and _is_text(schema.field(name).type)]
        first = next(pq.ParquetFile(source.file).iter_batches(1, columns=words), None)
        rows = first.to_pylist() if first is not None and words else []
        meant += [name for name in words if rows and is_part(rows[0][name])]
        table = pq.read_table(source.file, columns=meant or names)
        maps = [name for name in table.column_names if pa.types.is_map(table.schema.field(name).type)]
    except (pa.ArrowException, OSError) as error:
        raise StructureError(f"{source.file} is not a Parquet file that can be read: {error}") from None
    source.names.update(dict.fromkeys(names))
    number = 0
    for batch in table.to_batches(max_chunksize=1024):
        for values in batch.to_pylist():
            number += 1
            values |= {name: dict(values[name]) for name in maps if values[name] is not None}
            yield f"row {number}", values, ""


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner))


def _json(source: _Source) -> Iterator[Raw]:
    text = _text(source.file, source.form)
    if undecodable(text):
        raise StructureError(f"{source.file} {_bytes_problem(source.file, text)}.")
    for place, values in read_json_rows(source.file, text):
        yield place, values, ""


_READERS: Mapping[str, Callable[[_Source], Iterator[Raw]]] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".json": _json,
}


def _start(line: str) -> str:
    line = line.strip()
    return line if len(line) <= 80 else f"{line[:77]}..."
