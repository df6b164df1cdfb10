"""Which pairs are the test: the same for every run over the same data."""

from __future__ import annotations

from structure.pipeline.aligners.held_out import held_out
from structure.pipeline.pairing.pairs import PairedRows

TEST_SEED = 0
"""The test pairs are the same for every seed of a run: differences between seeds are then not those of the test."""


def training_and_test(rows: PairedRows, *, share: float) -> tuple[PairedRows, PairedRows]:
    """(the pairs to train on, the test pairs), `share` of them; at least 16, at most a third and 4,096. Raises
    StructureError for fewer than 8 pairs."""
    kept, out = held_out(len(rows), share=share, seed=TEST_SEED)
    return rows.take(kept), rows.take(out)
