"""The page's charts as PNG and its tables as CSV, for slides and papers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from structure.pipeline.charts import png
from structure.pipeline.csv_text import csv_text
from structure.pipeline.page.blocks import Chart, ImageBlock, Pivot, Section, Table


def write_files(sections: Sequence[Section], folder: Path) -> int:
    """Write them below `folder`, named by section, number and title; returns how many. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for section in sections:
        for number, block in enumerate(section.blocks, start=1):
            if isinstance(block, Chart):
                (folder / f"{_name(section, number, block.title)}.png").write_bytes(png(block.spec, title=block.title))
                _csv(folder / f"{_name(section, number, block.title)}.csv", block.values)
            elif isinstance(block, Table | Pivot):
                table = block.table() if isinstance(block, Pivot) else block
                _csv(folder / f"{_name(section, number, block.caption)}.csv", table)
            elif isinstance(block, ImageBlock):
                (folder / f"{_name(section, number, block.caption)}.png").write_bytes(block.data)
            else:
                continue
            count += 1
    return count


def _name(section: Section, number: int, title: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return f"{section.id}-{number:02d}-{words[:60].rstrip('-')}"


def _csv(path: Path, table: Table) -> None:
    rows = ([row.get(field) for field in table.columns] for row in table.rows)
    path.write_text(csv_text(table.columns.values(), rows), encoding="utf-8", newline="")
