"""What a section is made of: sentences, tables, charts, images. Values only; `html.py` writes them down."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from structure.pipeline.page.metric_names import display_name, is_rank

LONG = 56
"""Characters from which on a cell may take several lines."""

METRIC = "metric"
"""The field whose cells are names of metrics."""

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Text:
    """A paragraph; with `command`, what to type after it."""

    kind: ClassVar[str] = "text"
    words: str
    command: str = ""
    small: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under a caption, sorted by whoever looks. `columns` maps a field to its heading; a column of numbers is set
    to the right, with `digits` decimals where the field is named in it (3 else). Rows whose field `dim` is true are
    greyed, and `dim_means` says why."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: Mapping[str, str]
    rows: Sequence[Row]
    digits: Mapping[str, int] | None = None
    dim: str = ""
    dim_means: str = ""
    folded: bool = False

    def numeric(self, field: str) -> bool:
        """Whether every cell of the column that is filled holds a number."""
        cells = [row.get(field) for row in self.rows]
        filled = [cell for cell in cells if cell is not None]
        return bool(filled) and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in filled)

    @property
    def dims(self) -> bool:
        """Whether any row is greyed."""
        return any(row[self.dim] for row in self.rows) if self.dim else False

    def long(self, row: Row, field: str) -> bool:
        """Whether the cell is a sentence, which may take several lines."""
        return len(self.shown(row, field)) > LONG

    def sorted_by(self, row: Row, field: str) -> str:
        """What a numeric cell sorts by; "" for an empty one."""
        value = row.get(field)
        return "" if value is None or value != value else repr(value)

    def shown(self, row: Row, field: str) -> str:
        """The text of a cell: thousands separated in counts, fixed decimals in fractions, two figures of what these
        would hide, a dash for nothing."""
        value = row.get(field)
        if value is None or value != value:
            return "-"
        if isinstance(value, float):
            coarse = abs(value) >= 100 or is_rank(str(row.get(METRIC, "")))
            digits = (self.digits or {}).get(field, 1 if coarse else 3)
            return f"{value:.1e}" if 0 < abs(value) < 0.5 / 10**digits else f"{value:,.{digits}f}"
        if isinstance(value, int) and not isinstance(value, bool):
            return f"{value:,}"
        return display_name(str(value)) if field == METRIC else str(value)

    def hint(self, row: Row, field: str) -> str:
        """A metric's name as files have it, where the cell shows another; else ""."""
        name = str(row.get(field, ""))
        return name if field == METRIC and display_name(name) != name else ""

    def heading(self, field: str) -> str:
        """The heading of a column; a metric's name as the page shows it."""
        return display_name(self.columns[field])


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification, what it shows in words for those who do not see it, and its numbers as a table;
    `metric` is the name in files of what it shows, if that is one metric."""

    kind: ClassVar[str] = "chart"
    title: str
    alt: str
    spec: Mapping[str, Any]
    values: Table
    wide: bool = False
    metric: str = ""


@dataclass(frozen=True)
class ImageBlock:
    """A PNG or JPEG with a caption and what it shows in words."""

    kind: ClassVar[str] = "image"
    caption: str
    alt: str
    data: bytes


@dataclass(frozen=True)
class Answer:
    """One answer to a query, of `rank` from 1: a caption, or an image as JPEG bytes where it was saved. `sample` names
    the sample: its id, and its file where that says more."""

    rank: int
    text: str | None
    sample: str
    image: bytes | None
    cosine: float
    correct: bool


@dataclass(frozen=True)
class Example:
    """A query, a caption or an image, of a sample, and its answers, best first; `rank` of the first correct answer
    counts from 1."""

    text: str | None
    sample: str
    image: bytes | None
    rank: int
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Examples:
    """Queries of one aligner on one test, in one direction."""

    kind: ClassVar[str] = "examples"
    title: str
    queries: tuple[Example, ...]


@dataclass(frozen=True)
class Figure:
    """A number of the verdict, what it is, and how sure."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """A sentence of the verdict under its topic, with the commands to type. `caution`: it limits the verdict."""

    topic: str
    words: str
    commands: tuple[str, ...] = ()
    caution: bool = False


@dataclass(frozen=True)
class Verdict:
    """What the page says first: one sentence, its numbers, and what else a reader must know."""

    kind: ClassVar[str] = "verdict"
    headline: str
    figures: Sequence[Figure]
    findings: Sequence[Finding]


@dataclass(frozen=True)
class PivotColumn:
    """A metric on a test; `test` is empty where all columns are of one. `chance` is None where it is not known."""

    metric: str
    test: str
    chance: float | None

    @property
    def heading(self) -> str:
        """The metric as the page shows it."""
        return display_name(self.metric)


@dataclass(frozen=True)
class PivotCell:
    """A value with its 95 % interval. `is_level`: the best is not statistically significantly better; `is_compared`:
    whether that is known."""

    value: float
    low: float
    high: float
    is_best: bool
    is_level: bool
    is_compared: bool

    @property
    def interval(self) -> str:
        """`[0.712, 0.801]`; "" without one."""
        return "" if math.isnan(self.low) else f"[{self.low:.3f}, {self.high:.3f}]"

    @property
    def hint(self) -> str:
        """All that is known of it, in words."""
        words = f"{self.value:.4f}" + (f", 95 % interval {self.interval}" if self.interval else "")
        if self.is_best:
            return f"{words}; the best"
        if not self.is_compared:
            return f"{words}; not compared with the best"
        told = "not statistically significant" if self.is_level else "statistically significant"
        return f"{words}; difference to the best {told}"


@dataclass(frozen=True)
class PivotRow:
    """A variant, what it is, and its cells; None where it was not evaluated."""

    name: str
    about: str
    cells: tuple[PivotCell | None, ...]


@dataclass(frozen=True)
class Pivot:
    """Variants down, metrics across: the best of a column in bold, those level with it greyed, chance at the end."""

    kind: ClassVar[str] = "pivot"
    caption: str
    columns: tuple[PivotColumn, ...]
    rows: tuple[PivotRow, ...]

    def table(self) -> Table:
        """The values alone."""
        columns = {str(n): f"{column.metric} {column.test}".strip() for n, column in enumerate(self.columns)}
        rows = [
            {"aligner": row.name, **{str(n): None if cell is None else cell.value for n, cell in enumerate(row.cells)}}
            for row in self.rows
        ]
        rows.append({"aligner": "chance", **{str(n): column.chance for n, column in enumerate(self.columns)}})
        return Table(self.caption, {"aligner": "aligner", **columns}, rows)


Block: TypeAlias = Text | Table | Chart | ImageBlock | Examples | Verdict | Pivot


@dataclass(frozen=True)
class Section:
    """A heading with its blocks; one without blocks is left out of the page. `id` is the anchor."""

    id: str
    title: str
    blocks: Sequence[Block]


def plural(count: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
