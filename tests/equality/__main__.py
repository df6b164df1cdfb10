"""Writes the tables of `rows` into docs/methods-table.md: `python -m tests.equality`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.equality.rows import METHODS, METRICS, PARTS, VERDICTS, Row

PAGE = Path(__file__).resolve().parents[2] / "docs" / "methods-table.md"
HEAD, END = "## Equality with the authors' code", "## coco"


def table(title: str, rows: Sequence[Row]) -> str:
    lines = [f"| {title} | authors' code | compared with | what the test shows | test |", "|---|---|---|---|---|"]
    for row in rows:
        tests = ", ".join(f"[{test.rpartition('::')[2]}](../tests/{test.partition('::')[0]})" for test in row.tests)
        name = f"`{row.name}`" if rows is not PARTS else row.name
        lines.append(f"| {name} | {row.verdict} | {row.source} | {row.shown} | {tests} |")
    return "\n".join(lines)


def section() -> str:
    """The part of the page between `HEAD` and `END`."""
    return "\n\n".join(
        [
            HEAD,
            "`python -m tests.equality` writes these tables from [tests/equality/rows.py](../tests/equality/rows.py). "
            "Values of other projects' code were computed once by running it, and are stored as arrays: `@` names the "
            "commit. Training is compared step by step and not by results on a benchmark.",
            "\n".join(f"- **{verdict}**: {meaning}." for verdict, meaning in VERDICTS.items()),
            table("method", METHODS),
            table("part", PARTS),
            table("similarity metric", METRICS),
            "",
        ]
    )


def main() -> None:
    text = PAGE.read_text()
    start = text.find(HEAD) if HEAD in text else text.index(END)
    PAGE.write_text(text[:start] + section() + "\n" + text[text.index(END) :])


if __name__ == "__main__":
    main()
