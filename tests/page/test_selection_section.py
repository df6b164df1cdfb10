"""The report shows every candidate of a selection, the estimate, why, and what R_S was told to do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from structure.pipeline.model_selection.options import SelectionOptions
from structure.pipeline.model_selection.select_aligner import select_aligner
from structure.pipeline.page import selection
from structure.pipeline.page.blocks import Table, Text

DIAGNOSIS = {"js": 0.1, "vision_diagonal": 0.5, "text_diagonal": 0.4, "bound": 0.5, "rows": 9, "verdict": "fits"}


def shown(aligners: dict[str, Any]) -> tuple[list[Text], list[Table]]:
    blocks = selection.section(SimpleNamespace(aligners=aligners)).blocks  # type: ignore[arg-type]
    return [b for b in blocks if isinstance(b, Text)], [b for b in blocks if isinstance(b, Table)]


def test_every_candidate_is_shown_and_the_choice_named(monkeypatch: Any) -> None:
    monkeypatch.setattr(selection, "SHOWN", 3)
    random = np.random.default_rng(0)
    vision = random.standard_normal((60, 8)).astype(np.float32)
    options = SelectionOptions(candidates=("ridge", "procrustes", "asif"))
    found = select_aligner(vision, vision[:, :6], options=options).selection.to_dict()
    texts, tables = shown({"a": {"selection": found}, "b": {}})
    assert found["why"] in texts[0].words
    assert f"{found['estimate']['score']:.3f}" in texts[1].words
    assert [len(table.rows) for table in tables] == [3, 2]
    assert tables[1].folded
    assert [row["note"] for table in tables for row in table.rows].count("chosen") == 1


def test_the_diagnosis_of_r_s_is_a_row_each() -> None:
    _, (table,) = shown({"a": {"structure_diagnosis": DIAGNOSIS}, "b": {"structure_diagnosis": DIAGNOSIS}})
    assert [row["aligner"] for row in table.rows] == ["a", "b"]
    assert table.shown(table.rows[0], "verdict") == "fits"
    assert table.shown(table.rows[0], "text_within") == "-"


def test_a_store_without_either_has_no_such_section() -> None:
    assert shown({"a": {}}) == ([], [])
