"""Both sides of the candidate layers, whose rows pair: in memory, or read on demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from structure.pipeline.aligners.aligner_method import Inputs
from structure.pipeline.aligners.padded import as_sequences
from structure.pipeline.aligners.unpaired import Unpaired
from structure.pipeline.model_selection.candidates import Candidate, Layers
from structure.store import JoinedRows, Rows, Tokens


@dataclass(frozen=True)
class PairedFeatures:
    """Both sides of some layers by what a sample is ("rows", "tokens", "sets"), row i of each being one pair.

    A side is (n, width), `Rows` of the store or of several layers (`JoinedRows`), or sequences. Where there are sets
    there are the rows of the same layers: aligners of sets embed one vector a sample. `groups` (n,) int64: what stays
    in one fold. `unpaired` are rows of the same layers of samples that are in no pair.
    """

    sides: Mapping[tuple[Inputs, Layers], tuple[Any, Any]]
    groups: np.ndarray
    unpaired: Mapping[Layers, Unpaired] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.groups)

    def of(self, candidate: Candidate, rows: np.ndarray) -> tuple[Any, Any]:
        """The features of these rows that a candidate is fitted to."""
        vision, text = self.sides[candidate.inputs, candidate.layers]
        return taken(vision, rows), taken(text, rows)

    def scored(self, candidate: Candidate, rows: np.ndarray) -> tuple[Any, Any]:
        """The features of these rows that its aligner embeds: of sets one vector a sample."""
        vision, text = self.sides["rows" if candidate.inputs == "sets" else candidate.inputs, candidate.layers]
        return taken(vision, rows), taken(text, rows)

    def unpaired_of(self, candidate: Candidate) -> Unpaired | None:
        """The unpaired rows of a candidate's layers, where it sees them."""
        return self.unpaired.get(candidate.layers) if candidate.use_of_unpaired != "unused" else None

    def cost(self, candidate: Candidate, pairs: int) -> float:
        """Operations of a fit to so many pairs, roughly."""
        sides = self.sides[candidate.inputs, candidate.layers]
        widths = (width_of(sides[0]), width_of(sides[1]))
        return candidate.cost(widths, pairs) * max(vectors_of(side) for side in sides)

    def subset(self, rows: np.ndarray) -> PairedFeatures:
        """These rows, in memory; a side that several layer pairs have in common is read once."""
        read: dict[int, Any] = {}

        def once(side: Any) -> Any:
            if isinstance(side, JoinedRows):
                return JoinedRows([once(part) for part in side.parts])
            if id(side) not in read:
                is_whole = isinstance(side, np.ndarray) and len(rows) == len(side)
                read[id(side)] = side if is_whole else taken(side, rows)
            return read[id(side)]

        sides = {key: (once(vision), once(text)) for key, (vision, text) in self.sides.items()}
        return PairedFeatures(sides, self.groups[rows], self.unpaired)


def taken(side: Any, rows: np.ndarray) -> Any:
    """These rows of a side, in memory."""
    if isinstance(side, JoinedRows):
        return JoinedRows([taken(part, rows) for part in side.parts])
    if isinstance(side, Rows):
        read = side[rows][:]
        return as_sequences(read) if isinstance(read, Tokens) else np.asarray(read)
    return side[rows] if isinstance(side, np.ndarray) else as_sequences(side).take(rows)


def width_of(side: Any) -> int:
    """Width of the vectors of a side."""
    return int(side.shape[1]) if hasattr(side, "shape") else int(side.width)


def vectors_of(side: Any) -> float:
    """Vectors a sample, on average."""
    if hasattr(side, "offsets"):
        return float(side.offsets[-1]) / (len(side.offsets) - 1)
    if hasattr(side, "mask"):
        return float(side.mask.sum()) / len(side.mask)
    return 1.0
