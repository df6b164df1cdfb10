"""Cells of the campaign's table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass
class Cell:
    """Tries of one fault at one stage or kind of file: `wrong` ended otherwise than they should, `unseen` were used."""

    part: str
    stage: str
    fault: str
    tries: int = 0
    wrong: int = 0
    unseen: int = 0
    notes: list[str] = field(default_factory=list)

    def wrong_at(self, which: str, said: Sequence[str]) -> None:
        self.wrong += 1
        self.notes.append(f"{self.stage}, {self.fault}, {which}: {'; '.join(said[:4])}")

    def unseen_at(self, which: str) -> None:
        self.unseen += 1
        self.notes.append(f"{self.stage}, {self.fault}, {which}: not seen")


def table(cells: Iterable[Cell]) -> str:
    """Markdown: a row a cell, and the sums of each part."""
    lines = ["| part | stage or file | fault | tries | wrong | unseen |", "|---|---|---|---:|---:|---:|"]
    sums: dict[str, list[int]] = {}
    for cell in cells:
        counts = (cell.tries, cell.wrong, cell.unseen)
        lines.append(f"| {cell.part} | {cell.stage} | {cell.fault} | " + " | ".join(map(str, counts)) + " |")
        sums[cell.part] = [a + b for a, b in zip(sums.get(cell.part, [0, 0, 0]), counts, strict=True)]
    lines += [f"| **{part}** | all | all | " + " | ".join(map(str, total)) + " |" for part, total in sums.items()]
    return "\n".join(lines) + "\n"
