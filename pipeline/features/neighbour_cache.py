"""Neighbour tables kept in the store: computed once for the rows of a layer, read again for every k below theirs."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping

import numpy as np

from structure.pipeline.similarity.neighbours import Neighbours
from structure.store import FeatureSet, Store


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
            with np.load(io.BytesIO(self.files.read(self._file(layer))), allow_pickle=False) as kept:
                table, constant = kept["table"], bool(kept["constant"])
        except (FileNotFoundError, ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
            return None
        if table.ndim != 2 or table.dtype != np.int32 or table.shape[1] < k:
            return None
        return Neighbours(np.ascontiguousarray(table[:, :k]), constant)

    def keep(self, tables: Mapping[str, Neighbours]) -> None:
        """Write the tables of some layers."""
        for layer, neighbours in tables.items():
            buffer = io.BytesIO()
            np.savez(buffer, table=neighbours.table, constant=np.array(neighbours.constant))
            self.files.write(self._file(layer), buffer.getvalue())

    def _file(self, layer: str) -> str:
        return f"{self.prefix}/{layer}.npz"
