"""One side of a ranking: the layers of a feature set over the ranked rows, and their neighbours from the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from structure.pipeline.progress import Progress
from structure.pipeline.ranking.compute_settings import ComputeSettings
from structure.pipeline.ranking.neighbour_cache import NeighbourCache
from structure.pipeline.similarity.clamp import Clamp, clamped
from structure.pipeline.similarity.knn.neighbour_tables import TASK_ROWS, neighbour_tables
from structure.pipeline.similarity.knn.neighbours import Neighbours
from structure.pipeline.similarity.knn.unit_rows import UnitRows
from structure.pipeline.similarity.stability import Subset, SubsetTables, subset_tables
from structure.store import FeatureSet, Rows, Store


@dataclass(frozen=True)
class HeldRows:
    """Rows of a layer that are read when the first of them are asked for, and held: chosen rows of a large set lie far
    apart, and to read them takes as long as to read it whole."""

    rows: Rows

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.rows.dtype

    def __getitem__(self, part: slice) -> Any:
        return self._values[part]

    @cached_property
    def _values(self) -> Any:
        return self.rows[:]


class RankedSide:
    """One feature set restricted to the ranked rows. Neighbour tables that the store has are read, others are computed
    and saved there."""

    def __init__(
        self, store: Store, features: FeatureSet, rows: np.ndarray, clamp: Clamp | None, running: ComputeSettings
    ) -> None:
        self.features, self.clamp, self.running = features, clamp, running
        self.layers = {layer: Rows(features, layer, rows) for layer in features.layers}
        said = running.on_event
        self.cache = NeighbourCache(
            store, features, rows, preprocessing=f"clamp={clamp}" if clamp else "", on_event=said
        )

    @cached_property
    def sources(self) -> dict[str, Any]:
        """The layers as they are compared: clamped where the preset says so (which reads them all, once)."""
        size = sum(rows.shape[0] * rows.shape[1] * rows.dtype.itemsize for rows in self.layers.values())
        held = size <= self.running.memory // 8 and self.running.compute is None  # tasks elsewhere read for themselves
        layers: dict[str, Any] = {name: HeldRows(rows) if held else rows for name, rows in self.layers.items()}
        if self.clamp is None:
            return layers
        return dict(zip(layers, clamped(list(layers.values()), self.clamp), strict=True))

    def neighbours(self, k: int) -> list[Neighbours]:
        """The `k` nearest rows of every row in every layer, in order of depth."""
        tables = {layer: self.cache.load(layer, k=k) for layer in self.layers}
        run = self.running

        def save(layer: str, table: Neighbours) -> None:
            self.cache.save({layer: table})
            tables[layer] = table
            done = sum(table is not None for table in tables.values())
            run.on_event(Progress(f"neighbours of {self.features.key}", done, len(self.layers), "layers"))

        missing = [layer for layer, table in tables.items() if table is None]
        if missing:
            neighbour_tables(
                {layer: self.sources[layer] for layer in missing},
                k=k,
                device=run.device,
                memory=run.memory,
                compute=run.compute,
                task_rows=TASK_ROWS,
                on_table=save,
            )
        return [table for table in tables.values() if table is not None]

    def subset_tables(self, subsets: Sequence[Subset]) -> list[SubsetTables]:
        """The neighbours of every layer among each subset."""
        tables = self.cache.load_subsets(subsets)
        if tables is None:
            tables = subset_tables(self.sources, subsets, memory=self.running.memory)
            self.cache.save_subsets(subsets, tables)
        return tables

    def constant(self) -> np.ndarray:
        """`(layers,)` bool: which layers point one way in every row."""
        surveys = (UnitRows(x, k=1, memory=self.running.memory, name=name) for name, x in self.sources.items())
        return np.array([survey.is_constant() for survey in surveys])
