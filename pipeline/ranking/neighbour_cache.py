"""Neighbour tables cached in the store: computed once for the rows of a layer, read again for every k below theirs."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from structure.pipeline.progress import Listener, Note, silent
from structure.pipeline.similarity.knn.neighbours import Neighbours
from structure.pipeline.similarity.stability import Subset, SubsetTables
from structure.store import FeatureSet, Store
from structure.store.seals import Seal, SealError, closed, require_own

UNREADABLE = (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile)


class NeighbourCache:
    """Tables of one feature set over one choice of rows.

    The key holds the digest of every stored value, of the rows and of the preprocessing, so a table can never belong
    to other features. A file is an `.npz` without pickles, whose comment is its seal; one that is damaged or of another
    layer is told, and counts as absent, since it can be computed again.
    """

    def __init__(
        self,
        store: Store,
        features: FeatureSet,
        rows: np.ndarray,
        *,
        preprocessing: str = "",
        on_event: Listener = silent,
    ) -> None:
        self.on_event = on_event
        chosen = hashlib.sha256(np.ascontiguousarray(rows).tobytes() + preprocessing.encode()).hexdigest()
        self.files = store.files
        self.prefix = f"neighbours/{features.key}/{features.content()[:16]}-{chosen[:16]}"

    def load(self, layer: str, *, k: int) -> Neighbours | None:
        """The table cut to `k` neighbours, if one at least as deep is there."""
        found = self._read(self._file(layer), ("table", "constant"))
        if found is None:
            return None
        table, constant = found[0], bool(found[1])
        if table.ndim != 2 or table.dtype != np.int32 or table.shape[1] < k:
            return None
        return Neighbours(np.ascontiguousarray(table[:, :k]), constant)

    def save(self, tables: Mapping[str, Neighbours]) -> None:
        """Write the tables of some layers, where the store can be written."""
        if not self.files.writable:
            return
        for layer, neighbours in tables.items():
            arrays = {"table": neighbours.table, "constant": np.array(neighbours.constant)}
            self._write(self._file(layer), arrays)

    def load_subsets(self, subsets: Sequence[Subset]) -> list[SubsetTables] | None:
        """The tables among exactly these subsets, if they are there."""
        names = [f"{what}{number}" for number in range(len(subsets)) for what in ("table", "constant")]
        found = self._read(self._subsets(subsets), names)
        return None if found is None else [SubsetTables(*pair) for pair in zip(found[::2], found[1::2], strict=True)]

    def save_subsets(self, subsets: Sequence[Subset], tables: Sequence[SubsetTables]) -> None:
        """Write the tables of every layer among some subsets, as one file, where the store can be written."""
        if not self.files.writable:
            return
        arrays: dict[str, Any] = {f"table{i}": own.tables for i, own in enumerate(tables)}
        self._write(self._subsets(subsets), arrays | {f"constant{i}": own.constant for i, own in enumerate(tables)})

    def _read(self, key: str, names: Sequence[str]) -> list[np.ndarray] | None:
        """The arrays of a file; None where it is not there or is not what was written there."""
        try:
            data = self.files.read(key)
        except FileNotFoundError:
            return None
        try:
            require_own(data, Seal(key))
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                return [file[name] for name in names]
        except UNREADABLE as error:
            why = str(error) if isinstance(error, SealError) else f"does not read ({error})"
            self.on_event(Note(f"{key} {why}: it is computed again"))
            return None

    def _write(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        with zipfile.ZipFile(buffer, "a") as file:
            file.comment = Seal(key).blank.encode()
        self.files.write(key, closed(buffer.getvalue()))

    def _subsets(self, subsets: Sequence[Subset]) -> str:
        drawn = hashlib.sha256()
        for subset in subsets:
            drawn.update(f"{subset.size} {subset.k} ".encode() + subset.rows.tobytes())
        return f"{self.prefix}/subsets.{drawn.hexdigest()[:16]}.npz"

    def _file(self, layer: str) -> str:
        return f"{self.prefix}/{layer}.npz"
