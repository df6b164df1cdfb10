"""How methods were selected: every candidate of a selection, the choice, and what R_S was told to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from structure.pipeline.page.blocks import Block, Section, Table, Text
from structure.pipeline.page.source import Source

SHOWN = 20
"""Candidates above the fold; the others are in a folded table."""

COLUMNS = {
    "method": "method",
    "options": "options",
    "vision": "vision layer",
    "text": "text layer",
    "score": "score",
    "se": "standard error",
    "pairs": "pairs a fold",
    "seconds": "seconds",
    "note": "note",
}


def section(source: Source) -> Section:
    """A table for each aligner whose method was selected; a row for each that trained under R_S."""
    blocks: list[Block] = []
    for name, facts in source.aligners.items():
        selection = facts.get("selection")
        if selection:
            blocks += _selection(name, selection)
    diagnoses = [
        {"aligner": name, **facts["structure_diagnosis"]}
        for name, facts in source.aligners.items()
        if facts.get("structure_diagnosis")
    ]
    if diagnoses:
        blocks.append(_diagnoses(diagnoses))
    return Section("selection", "Model selection", blocks)


def _selection(name: str, selection: Mapping[str, Any]) -> list[Block]:
    estimate, rows = selection["estimate"], [_row(candidate) for candidate in selection["candidates"]]
    blocks: list[Block] = [Text(f"{name}: {selection['why']}")]
    if estimate["score"] is not None:
        blocks.append(
            Text(
                f"Expected {selection['criterion']} from {estimate['pairs']:,} training pairs: {estimate['score']:.3f} "
                f"±{estimate['se']:.3f}, one standard error ({estimate['how']}).",
                small=True,
            )
        )
    caption = f"Candidates of {name} by {selection['criterion']} over {selection['folds']} folds of the training pairs"
    digits = {"seconds": 1}
    blocks.append(Table(f"{caption}, best first", COLUMNS, rows[:SHOWN], digits))
    if rows[SHOWN:]:
        blocks.append(Table(f"{caption}, the others", COLUMNS, rows[SHOWN:], digits, folded=True))
    return blocks


def _row(candidate: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "method": candidate["method"],
        "options": ", ".join(f"{key}={value}" for key, value in candidate["options"].items()),
        "vision": candidate["layers"]["vision"],
        "text": candidate["layers"]["text"],
        "score": candidate["score"],
        "se": candidate["se"],
        "pairs": candidate["pairs"] or None,
        "seconds": candidate["seconds"],
        "note": "chosen" if candidate["chosen"] else candidate["note"],
    }


def _diagnoses(rows: list[dict[str, Any]]) -> Table:
    columns = {
        "aligner": "aligner",
        "verdict": "R_S is",
        "bound": "weight/2 JS, nats",
        "js": "JS(P_V, P_T)",
        "vision_diagonal": "diagonal of P_V",
        "text_diagonal": "diagonal of P_T",
        "text_within": "text variance within samples",
        "rows": "rows",
    }
    caption = "R_S on the frozen features of a batch, before training: inert below .05 nats, in conflict above 1"
    return Table(caption, columns, rows, {"js": 4})
