"""Neighbour tables cached in the store: computed once for the rows of a layer, read again for every k below theirs."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from structure.pipeline.similarity.knn.neighbours import Neighbours
from structure.pipeline.similarity.stability import Subset, SubsetTables
from structure.store import FeatureSet, Store

UNREADABLE = (FileNotFoundError, ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile)


class NeighbourCache:
    """Tables of one feature set over one choice of rows.

    The key holds the digest of every stored value, of the rows and of the preprocessing, so a table can never belong
    to other features. A file is an `.npz` without pickles; its checksums are verified on reading, and a damaged file
    counts as absent, since the table can be computed again.
    """

    def __init__(self, store: Store, features: FeatureSet, rows: np.ndarray, *, preprocessing: str = "") -> None:
        chosen = hashlib.sha256(np.ascontiguousarray(rows).tobytes() + preprocessing.encode()).hexdigest()
        self.files = store.files
        self.prefix = f"neighbours/{features.key}/{features.content()[:16]}-{chosen[:16]}"

    def load(self, layer: str, *, k: int) -> Neighbours | None:
        """The table cut to `k` neighbours, if one at least as deep is there."""
        try:
            with np.load(io.BytesIO(self.files.read(self._file(layer))), allow_pickle=False) as file:
                table, constant = file["table"], bool(file["constant"])
        except UNREADABLE:
            return None
        if table.ndim != 2 or table.dtype != np.int32 or table.shape[1] < k:
            return None
        return Neighbours(np.ascontiguousarray(table[:, :k]), constant)

    def save(self, tables: Mapping[str, Neighbours]) -> None:
        """Write the tables of some layers, where the store can be written."""
        if not self.files.writable:
            return
        for layer, neighbours in tables.items():
            buffer = io.BytesIO()
            np.savez(buffer, table=neighbours.table, constant=np.array(neighbours.constant))
            self.files.write(self._file(layer), buffer.getvalue())

    def load_subsets(self, subsets: Sequence[Subset]) -> list[SubsetTables] | None:
        """The tables among exactly these subsets, if they are there."""
        try:
            with np.load(io.BytesIO(self.files.read(self._subsets(subsets))), allow_pickle=False) as file:
                return [SubsetTables(file[f"table{i}"], file[f"constant{i}"]) for i in range(len(subsets))]
        except UNREADABLE:
            return None

    def save_subsets(self, subsets: Sequence[Subset], tables: Sequence[SubsetTables]) -> None:
        """Write the tables of every layer among some subsets, as one file, where the store can be written."""
        if not self.files.writable:
            return
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {f"table{i}": own.tables for i, own in enumerate(tables)}
        np.savez(buffer, **arrays | {f"constant{i}": own.constant for i, own in enumerate(tables)})
        self.files.write(self._subsets(subsets), buffer.getvalue())

    def _subsets(self, subsets: Sequence[Subset]) -> str:
        drawn = hashlib.sha256()
        for subset in subsets:
            drawn.update(f"{subset.size} {subset.k} ".encode() + subset.rows.tobytes())
        return f"{self.prefix}/subsets.{drawn.hexdigest()[:16]}.npz"

    def _file(self, layer: str) -> str:
        return f"{self.prefix}/{layer}.npz"
