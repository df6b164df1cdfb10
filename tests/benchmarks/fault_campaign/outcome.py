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


def sums(cells: Iterable[Cell]) -> dict[str, dict[str, int]]:
    """Part -> tries, wrong and unseen of all its cells."""
    found: dict[str, dict[str, int]] = {}
    for cell in cells:
        total = found.setdefault(cell.part, {"tries": 0, "wrong": 0, "unseen": 0})
        for name in total:
            total[name] += getattr(cell, name)
    return found


def table(cells: Sequence[Cell]) -> str:
    """Markdown: a row a stage or kind of file, with the counts of each fault, and the sums of each part."""
    lines = ["| part | stage or file | tries of each fault | tries | wrong | unseen |", "|---|---|---|---:|---:|---:|"]
    stages: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        stages.setdefault((cell.part, cell.stage), []).append(cell)
    for (part, stage), row in stages.items():
        (total,) = sums(row).values()
        tries = ", ".join(f"{cell.fault} {cell.tries}" for cell in row)
        lines.append(f"| {part} | {stage} | {tries} | " + " | ".join(map(str, total.values())) + " |")
    for part, total in sums(cells).items():
        lines.append(f"| **{part}** | all | all | " + " | ".join(map(str, total.values())) + " |")
    return "\n".join(lines) + "\n"
