"""Tables that are written for spreadsheets: no text is a formula there, and nothing else writes CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from structure.pipeline.csv_text import csv_text, harmless
from structure.pipeline.page.blocks import Section, Table
from structure.pipeline.page.files import write_files
from structure.pipeline.recipe.summarise import write_correlations
from structure.pipeline.recipe.summary import Correlation, Point
from structure.store import open_store

ROOT = Path(__file__).resolve().parents[1]
ATTACK = "=cmd|' /C calc'!A0"
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.floats() | st.none()


def test_a_cell_is_made_harmless() -> None:
    assert [harmless(value) for value in ("=1", "+1", "-1", "@x", "\t1", "a=1", "", -1.5, None)] == [
        *("'=1", "'+1", "'-1", "'@x", "'\t1", "a=1", "", -1.5, None)
    ]


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=4))
def test_no_text_begins_like_a_formula_and_every_cell_comes_back(rows: list[list[object]]) -> None:
    read = list(csv.reader(io.StringIO(csv_text(["=head", "b"], rows), newline="")))
    assert read[0] == ["'=head", "b"]
    for given_row, row in zip(rows, read[1:], strict=True):
        for value, cell in zip(given_row, row, strict=True):
            if isinstance(value, str):
                assert cell[:1] not in tuple("=+-@\t\r\n")
                assert cell == value or cell == f"'{value}"
            else:
                assert cell == ("" if value is None else repr(value))


def test_tables_of_reports_and_recipes_are_harmless(tmp_path: Path) -> None:
    table = Table("values", {"a": ATTACK, "b": "b"}, [{"a": ATTACK, "b": -1.5}])
    write_files([Section("results", "", [table])], tmp_path)
    (file,) = tmp_path.glob("*.csv")
    assert file.read_bytes() == f"'{ATTACK},b\r\n'{ATTACK},-1.5\r\n".encode()
    points = tuple(Point("v", "@t", n / 3, n / 4) for n in range(3))
    files = open_store(tmp_path / "store").folder("reports", "r")
    write_correlations([Correlation(ATTACK, "d", "t", "acc1", 1.0, 0.0, points)], files)
    lines = files.read("similarity.csv").decode().split("\r\n")
    assert lines[1].startswith(f"'{ATTACK},d,acc1,v,'@t,0.0,")


def test_nothing_else_writes_csv() -> None:
    writers = [
        path.relative_to(ROOT).as_posix()
        for room in ("store", "pipeline", "cli")
        for path in (ROOT / room).rglob("*.py")
        if "csv.writer" in path.read_text() or "csv.DictWriter" in path.read_text() or ".to_csv(" in path.read_text()
    ]
    assert writers == ["pipeline/csv_text.py"]
