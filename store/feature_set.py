"""One encoder over one dataset split: allocated whole, filled shard by shard, complete, read lazily."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from structure.store.arrow_arrays import Ids
from structure.store.chunk import page_aligned
from structure.store.column_layout import Column, ColumnLayout, tokens_path
from structure.store.column_reader import ColumnReader
from structure.store.completion_markers import CompletionMarker, CompletionMarkers
from structure.store.errors import FingerprintError, unknown
from structure.store.files import Files
from structure.store.fingerprint import differences, fingerprint
from structure.store.lease import remove_stale
from structure.store.manifest import Manifest, require_own
from structure.store.shard_ranges import Shard
from structure.store.tokens_in_memory import Tokens
from structure.store.verify import Fault, faults_of
from structure.store.xarray_view import as_xarray
from structure.store.zarr_coordinates import read_ids, read_lengths
from structure.store.zarr_metadata import zarr_documents

if TYPE_CHECKING:
    import xarray as xr


class FeatureSet:
    """Rows by sample id, layers by name. Made by `Store.allocate` or `Store[...]`, not directly.

    On disk: a zarr v3 group with one array `(sample, feature)` per layer (chunk = shard), the tokens of some layers in
    the subgroup `tokens`, `manifest.json`, and a marker for every finished shard below `done/`.
    """

    def __init__(self, files: Files, prefix: str, manifest: Manifest) -> None:
        self.files, self.prefix, self.manifest = files, prefix, manifest
        self._layouts: dict[str, ColumnLayout] = {}

    @classmethod
    def open(cls, files: Files, prefix: str) -> FeatureSet:
        """Open what is there. Raises FileNotFoundError, or DamageError for a manifest that does not read or is that of
        another feature set."""
        key = f"{prefix}/manifest.json"
        manifest = Manifest.from_json(files.read(key), source=key)
        require_own(manifest, prefix, source=key)
        return cls(files, prefix, manifest)

    @classmethod
    def allocate(
        cls, files: Files, prefix: str, manifest: Manifest, ids: Ids, lengths: np.ndarray | None = None
    ) -> FeatureSet:
        """Create the feature set, or open it if it is already there for the same identity; token columns that it does
        not have yet are added.

        Writes metadata only. `ids` are the sample ids of the rows, `lengths` their token counts where tokens of texts
        are saved. Raises FingerprintError, naming the fields, for another identity.
        """
        if len(ids) != manifest.rows:
            raise ValueError(f"{manifest.key}: {manifest.rows} rows and {len(ids)} ids")
        try:
            there = cls.open(files, prefix)
        except FileNotFoundError:
            return cls(files, prefix, manifest)._write_metadata(ids, lengths)
        there.require(manifest.identity)
        kept = {column.name for column in there.manifest.tokens}
        more = tuple(column for column in manifest.tokens if column.name not in kept)
        if not more:
            return there
        wider = replace(there.manifest, tokens=(*there.manifest.tokens, *more), lengths=manifest.lengths)
        return cls(files, prefix, wider)._write_metadata(ids, lengths)

    def grow(self, manifest: Manifest, ids: Ids, lengths: np.ndarray | None = None) -> FeatureSet:
        """The same feature set with more rows: the old ones, then new ones. Only new rows, and the last shard if it
        was not full, are pending.

        The manifest is written last, so that a crash before leaves the old feature set; growing again finishes.
        """
        old = self.manifest
        if manifest.rows <= old.rows or manifest.shard_rows != old.shard_rows or manifest.columns != old.columns:
            raise ValueError(f"{self.key}: {old.rows} rows do not grow to {manifest.rows}")
        if old.rows % old.shard_rows:
            self.completion.remove(len(old.shards) - 1)
        return FeatureSet(self.files, self.prefix, manifest)._write_metadata(ids, lengths)

    def require(self, identity: Mapping[str, Any]) -> None:
        """Refuse another identity. Raises FingerprintError with each field that differs."""
        fields = differences(identity, self.manifest.identity)
        if fields:
            told = "; ".join(f"{path}: stored {theirs!r}, this run {ours!r}" for path, ours, theirs in fields[:6])
            raise FingerprintError(
                f"The feature set {self.key} was written from something else ({told}). Stored fingerprint "
                f"{self.fingerprint[:12]}, this run {fingerprint(identity)[:12]}. Mixing them would corrupt every "
                "similarity. Use the stored options, or choose another --store."
            )

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        return self.manifest.key

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def modality(self) -> str:
        return self.manifest.modality

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the stored arrays, in order of depth: a layer, or `layer@pooling` where several are saved."""
        return tuple(column.name for column in self.manifest.columns)

    @property
    def token_layers(self) -> tuple[str, ...]:
        """Names of the layers whose tokens are stored."""
        return tuple(column.name for column in self.manifest.tokens)

    @cached_property
    def token_lengths(self) -> np.ndarray | None:
        """(rows,) int64 token counts of the texts whose tokens are stored; None where all rows have as many. Raises
        DamageError if they changed."""
        return read_lengths(self.files, self.prefix, self.manifest)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, layers)."""
        return self.manifest.rows, len(self.manifest.columns)

    def __len__(self) -> int:
        return self.manifest.rows

    def __repr__(self) -> str:
        return f"<FeatureSet {self.key}: {len(self)} rows x {len(self.layers)} layers, {self.state}>"

    @property
    def state(self) -> str:
        """`complete`, or how many shards are done."""
        total, done = len(self.manifest.shards), len(self.manifest.shards) - len(self.pending())
        return "complete" if done == total else f"{done} of {total} shards"

    @property
    def is_complete(self) -> bool:
        """Whether every layer is there whole; its tokens, where they are saved besides, may still be on their way."""
        tokens = {column.path for column in self.manifest.tokens}
        return all(tokens.issuperset(lacking) for lacking in self.pending().values())

    @cached_property
    def ids(self) -> np.ndarray:
        """Sample ids of the rows, a string array."""
        return read_ids(self.files, self.prefix)

    @property
    def skipped(self) -> dict[int, str]:
        """Rows that could not be read from the dataset, with the reason; their values are NaN."""
        return {row: reason for marker in self.completion.known().values() for row, reason in marker.skipped.items()}

    @property
    def known_skipped(self) -> list[int]:
        """`skipped` rows in ascending order, of a complete set read once."""
        return sorted(row for marker in self.completion.known().values() for row in marker.skipped)

    @property
    def valid(self) -> np.ndarray:
        """(rows,) bool: False for the skipped rows."""
        mask = np.ones(len(self), dtype=bool)
        mask[list(self.skipped)] = False
        return mask

    def content(self) -> str:
        """Hex digest of every value of the layers (through the shards' checksums); cache keys are made from it."""
        markers = self.markers()
        return fingerprint(
            {"shards": [[marker.start, sorted(marker.pooled().items())] for _, marker in sorted(markers.items())]}
        )

    # -- filling --------------------------------------------------------------------------------------------------

    def markers(self) -> dict[int, CompletionMarker]:
        """The completion markers by shard index. Raises DamageError for one that does not read."""
        return self.completion.all()

    def pending(self) -> dict[Shard, tuple[str, ...]]:
        """What is still to do: shard -> the columns that it lacks; the tokens of a layer are named `tokens/<layer>`."""
        return self.completion.pending(self.completion.all())

    @cached_property
    def completion(self) -> CompletionMarkers:
        """The completion markers on disk."""
        return CompletionMarkers(self.files, self.prefix, self.manifest)

    def index_of(self, shard: Shard) -> int:
        """The number of one of its shards. Raises ValueError for anything else."""
        index = shard.start // self.manifest.shard_rows
        if index >= len(self.manifest.shards) or self.manifest.shards[index] != shard:
            raise ValueError(f"{self.key}: {shard} is not one of its shards of {self.manifest.shard_rows} rows")
        return index

    def tidy(self) -> None:
        """Remove what killed writers left: stale leases and, if no lease is left, half-written files."""
        if not remove_stale(self.files, self.prefix):
            self.files.sweep(self.prefix)

    def widen(self, name: str) -> FeatureSet:
        """The same set with one column in float32; its shards are pending again, nothing else is touched."""
        wider = FeatureSet(self.files, self.prefix, self.manifest.widened(name))
        return wider._write_metadata(self.ids.tolist(), self.token_lengths)

    def described(self, manifest: Manifest, ids: Ids, lengths: np.ndarray | None) -> FeatureSet:
        """The same columns under another identity and other ids of the rows: metadata alone are written."""
        return FeatureSet(self.files, self.prefix, manifest)._write_metadata(ids, lengths)

    def _write_metadata(self, ids: Ids, lengths: np.ndarray | None) -> FeatureSet:
        """Everything that follows from the manifest, then its second copy, and last the manifest, which makes it
        count."""
        documents = zarr_documents(self.manifest, ids, lengths)
        group = documents.pop("zarr.json")
        self.files.write_together({f"{self.prefix}/{name}": data for name, data in documents.items()})
        self.files.write(f"{self.prefix}/zarr.json", group)
        self.files.write(f"{self.prefix}/manifest.json", self.manifest.to_json())
        return self

    # -- reading --------------------------------------------------------------------------------------------------

    def rows(self, layer: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows `[start, stop)` of a layer, `(stop - start, width)`, in the stored dtype; every shard is checked.

        Skipped rows are NaN. Raises DamageError for bytes that changed and StructureError for shards not written yet.
        """
        return self._vectors(layer, start, self._stop(start, stop))

    def tokens(self, layer: str, start: int = 0, stop: int | None = None) -> Tokens:
        """Tokens of a layer of rows `[start, stop)`, in the stored dtype; only the chunks that hold one are read, every
        one is checked. Skipped rows have no token. Raises as `rows` does.
        """
        path, stop = tokens_path(layer), self._stop(start, stop)
        column = self.column(path)
        values = self._vectors(path, start, stop)
        skipped = [row - start for row in self.known_skipped if start <= row < stop]
        offsets = self.layout(path).offsets(start, stop)
        return Tokens(values, offsets, column.prefix, column.grid).without(skipped)

    def _vectors(self, path: str, start: int, stop: int) -> np.ndarray:
        files = self.column_reader(path)
        out = page_aligned((files.layout.count(start, stop), files.column.width), dtype=files.column.dtype)
        files.read(start, stop, out, self.completion.known())
        return out

    def column(self, path: str) -> Column:
        """What is on record of a layer, or of the tokens of one (`tokens/<layer>`): width, dtype, tokens a row, prefix,
        grid. Raises StructureError, with what to type, for a layer that is not stored."""
        column = self.manifest.by_path.get(path)
        if column is None:
            layer = path.removeprefix(tokens_path(""))
            if layer != path:
                hint = f"It has no stored tokens: extract with --tokens {layer}."
                raise unknown("token layer", layer, self.token_layers, hint=hint)
            raise unknown("layer", path, self.layers, hint=f"It was looked for in {self.key}.")
        return column

    def column_reader(self, path: str) -> ColumnReader:
        """The chunks of a column on disk. Raises as `column` does."""
        return ColumnReader(self.files, self.prefix, self.manifest, self.layout(path))

    def layout(self, path: str) -> ColumnLayout:
        """Where the vectors of each row of a column lie. Raises as `column` does."""
        if path not in self._layouts:
            column = self.column(path)
            self._layouts[path] = self.manifest.layout(column, self.token_lengths if column.tokens is None else None)
        return self._layouts[path]

    def to_xarray(self) -> xr.Dataset:
        """Lazy float32 dask arrays chunked as on disk, dims `("sample", "feature")`, sample ids as the coordinate.

        Skipped rows are NaN. Raises StructureError while shards are missing."""
        return as_xarray(self.files, self.prefix, self.pending())

    def tokens_to_xarray(self) -> xr.Dataset:
        """The tokens likewise, dims `("sample", "token", "feature")`; of texts `("token", "feature")`, with `start` and
        `length` of each sample."""
        return as_xarray(self.files, self.prefix, self.pending(), tokens=True)

    def verify(self) -> list[Fault]:
        """Every fault found (`str(fault)` is a sentence); an empty list means that all is as it was written."""
        return faults_of(self.files, self.prefix, self.manifest)

    def _stop(self, start: int, stop: int | None) -> int:
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"{self.key} has rows 0 to {len(self)}; [{start}, {stop}) was asked for")
        return stop
