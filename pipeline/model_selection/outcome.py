"""What a selection has found: the table of all candidates, the choice, its estimate, and one sentence why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from structure.pipeline.model_selection.candidates import Candidate

TABLE, RECORD = "selection.parquet", "selection.json"
"""Files beside the aligner: a row for each candidate, and the whole record."""


@dataclass(frozen=True)
class Estimate:
    """The score of the chosen candidate on pairs that neither chose nor trained it, its standard error, and `how` it
    was obtained; `pairs` are the training pairs of each fit."""

    score: float | None
    se: float | None
    pairs: int
    how: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"score": self.score, "se": self.se, "pairs": self.pairs, "how": self.how}


@dataclass(frozen=True)
class TableRow:
    """A candidate as it came out. `score` is the mean over the folds of the last round it was in, None where it has
    none: `note` says why. `pairs` are the training pairs of a fold in that round, `seconds` all its fits together."""

    candidate: Candidate
    score: float | None
    se: float | None
    pairs: int
    seconds: float
    note: str
    is_chosen: bool

    def to_dict(self) -> dict[str, Any]:
        """As `align --json` has it."""
        return {
            "method": self.candidate.options.method,
            "options": dict(self.candidate.stated),
            "layers": dict(zip(("vision", "text"), self.candidate.layers, strict=True)),
            "score": self.score,
            "se": self.se,
            "pairs": self.pairs,
            "seconds": self.seconds,
            "note": self.note,
            "chosen": self.is_chosen,
        }


@dataclass(frozen=True)
class Selection:
    """The `chosen` candidate, the table (best first), the `estimate`, and `why`."""

    chosen: Candidate
    rows: Sequence[TableRow]
    estimate: Estimate
    select: str
    folds: int
    why: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "chosen": {
                "method": self.chosen.options.method,
                "options": dict(self.chosen.stated),
                "layers": dict(zip(("vision", "text"), self.chosen.layers, strict=True)),
            },
            "criterion": self.select,
            "folds": self.folds,
            "estimate": self.estimate.to_dict(),
            "why": self.why,
            "seconds": self.seconds,
            "candidates": [row.to_dict() for row in self.rows],
        }


SCHEMA = pa.schema(
    [
        ("method", pa.string()),
        ("options", pa.string()),
        ("vision_layer", pa.string()),
        ("text_layer", pa.string()),
        ("score", pa.float64()),
        ("se", pa.float64()),
        ("pairs", pa.int64()),
        ("seconds", pa.float64()),
        ("note", pa.string()),
        ("chosen", pa.bool_()),
    ]
)
"""Columns of the table beside the aligner; `options` are JSON."""


def selection_files(selection: Mapping[str, Any]) -> dict[str, bytes]:
    """What is written beside the aligner: the table as Parquet, and all of it as JSON."""
    sink = pa.BufferOutputStream()
    rows = [flat(row) for row in selection["candidates"]]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), sink, compression="zstd", write_page_checksum=True)
    document = json.dumps(selection, indent=1, allow_nan=False)
    return {TABLE: sink.getvalue().to_pybytes(), RECORD: document.encode()}


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table as columns of plain values; options as JSON text."""
    layers = row["layers"]
    return {
        **{key: value for key, value in row.items() if key not in ("layers", "options")},
        "options": json.dumps(row["options"], sort_keys=True),
        "vision_layer": layers["vision"],
        "text_layer": layers["text"],
    }


def called(candidate: Candidate) -> str:
    """A candidate in a sentence: `kernel-csa (ridge=3.0) on block.13 and block.05`."""
    stated = ", ".join(f"{key}={value}" for key, value in candidate.stated.items())
    vision, text = candidate.layers
    return f"{candidate.options.method}{f' ({stated})' if stated else ''} on {vision} and {text}"
