"""The predictions that a recipe's results were computed from, as evaluations and trainings saved them."""

from __future__ import annotations

import pyarrow as pa

from structure.pipeline.aligners.aligner_runs import run_of
from structure.pipeline.results import HELD_OUT, RUN, TEST_PREDICTIONS, Result, read_table
from structure.store import Store


class SavedPredictions:
    """Tables by result, each read once. None where there is none: the aligner or its results were replaced since, or
    only the value was saved."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._read: dict[tuple[str, str], pa.Table | None] = {}

    def __call__(self, result: Result) -> pa.Table | None:
        if result.task == HELD_OUT:
            return self._table("aligners", result.aligner, TEST_PREDICTIONS) if result.dataset == "test" else None
        if result.provenance.get(RUN) != run_of(self.store, result.aligner):
            return None
        return self._table("results", result.aligner, f"predictions/{result.file}")

    def _table(self, kind: str, aligner: str, file: str) -> pa.Table | None:
        key = f"{kind}/{aligner}", file
        if key not in self._read:
            try:
                self._read[key] = read_table(self.store.folder(kind, aligner), file)
            except FileNotFoundError:
                self._read[key] = None
        return self._read[key]
