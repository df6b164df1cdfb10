"""The predictions that a recipe's results were computed from, as evaluations and trainings saved them."""

from __future__ import annotations

import pyarrow as pa

from structure.pipeline.aligners.aligner_runs import run_of, table_beside
from structure.pipeline.results import FILE, HELD_OUT, RUN, TEST_PREDICTIONS, Result, read_predictions
from structure.store import Store


class SavedPredictions:
    """Tables by result, each read once. None where there is none: the aligner or its results were replaced since, or
    only the value was saved."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._read: dict[tuple[str, str], pa.Table | None] = {}

    def __call__(self, result: Result) -> pa.Table | None:
        key = result.aligner, TEST_PREDICTIONS if result.task == HELD_OUT else result.file
        if result.task == HELD_OUT and result.dataset != "test":
            return None
        if key not in self._read:
            self._read[key] = self._table(result)
        return self._read[key]

    def _table(self, result: Result) -> pa.Table | None:
        run = run_of(self.store, result.aligner)
        if run is None:
            return None
        if result.task == HELD_OUT:
            return table_beside(self.store, result.aligner, TEST_PREDICTIONS)
        folder = self.store.folder("results", result.aligner)
        if result.provenance.get(RUN) != run or not folder.exists(FILE):
            return None
        return read_predictions(folder, result)
