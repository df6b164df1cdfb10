"""One encoder over one dataset split: allocated whole, filled shard by shard, complete, read lazily."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from structure.store.cast import storable_shard
from structure.store.chunk import page_aligned, write_chunk
from structure.store.completion_marker import CompletionMarker
from structure.store.completion_markers import CompletionMarkers
from structure.store.errors import DamageError, FingerprintError, StructureError, unknown
from structure.store.files import Files
from structure.store.fingerprint import differences, fingerprint
from structure.store.layer_files import LayerFiles
from structure.store.layer_rows import LayerRows
from structure.store.lease import Lease, remove_stale
from structure.store.manifest import Column, Manifest, TokenColumn
from structure.store.shard import Shard
from structure.store.token_files import TokenFiles
from structure.store.token_writer import TokenWriter
from structure.store.tokens import Tokens
from structure.store.verify import Fault, faults_of
from structure.store.xarray_view import as_xarray
from structure.store.zarr_metadata import read_ids, zarr_documents

if TYPE_CHECKING:
    import xarray as xr

WRITERS = 8  # waiting for the disk, mostly


class FeatureSet:
    """Rows by sample id, layers by name. Made by `Store.allocate` or `Store[...]`, not directly.

    On disk: a zarr v3 group with one array `(sample, feature)` per layer (chunk = shard), the tokens of some layers in
    the subgroup `tokens`, `manifest.json`, and a marker for every finished shard below `done/`.
    """

    def __init__(self, files: Files, prefix: str, manifest: Manifest) -> None:
        self.files, self.prefix, self.manifest = files, prefix, manifest

    @classmethod
    def open(cls, files: Files, prefix: str) -> FeatureSet:
        """Open what is there. Raises FileNotFoundError, or DamageError for a manifest that does not read."""
        key = f"{prefix}/manifest.json"
        return cls(files, prefix, Manifest.from_json(files.read(key), source=key))

    @classmethod
    def allocate(
        cls, files: Files, prefix: str, manifest: Manifest, ids: Sequence[str], lengths: np.ndarray | None = None
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

    def grow(self, manifest: Manifest, ids: Sequence[str], lengths: np.ndarray | None = None) -> FeatureSet:
        """The same feature set with more rows: the old ones, then new ones. Only new rows, and the last shard if it
        was not full, are pending.

        The manifest is written last, so that a crash before leaves the old feature set; growing again finishes.
        """
        old = self.manifest
        if manifest.rows <= old.rows or manifest.shard_rows != old.shard_rows or manifest.columns != old.columns:
            raise ValueError(f"{self.key}: {old.rows} rows do not grow to {manifest.rows}")
        if old.rows % old.shard_rows:
            self._markers.remove(len(old.shards) - 1)
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

    @property
    def token_lengths(self) -> np.ndarray | None:
        """(rows,) int64 token counts of the texts whose tokens are stored; None where all rows have as many."""
        return self._tokens.lengths

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
        return {row: reason for marker in self.markers().values() for row, reason in marker.skipped.items()}

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
            {"shards": [[marker.start, sorted(marker.chunks.items())] for _, marker in sorted(markers.items())]}
        )

    # -- filling --------------------------------------------------------------------------------------------------

    def markers(self) -> dict[int, CompletionMarker]:
        """The completion markers by shard index. Raises DamageError for one that does not read."""
        return self._markers.all()

    def pending(self) -> dict[Shard, tuple[str, ...]]:
        """What is still to do: shard -> the columns that it lacks; the tokens of a layer are named `tokens/<layer>`."""
        return self._markers.pending(self._markers.all())

    def lacking(self, shard: Shard) -> tuple[str, ...]:
        """What `pending` says of one shard; nothing where it is done."""
        return self._markers.lacking(self._markers.read(self._index(shard)))

    def skipped_in(self, shard: Shard) -> dict[int, str]:
        """What `skipped` says of one shard."""
        marker = self._markers.read(self._index(shard))
        return dict(marker.skipped) if marker is not None else {}

    def lease(self, shard: Shard) -> Lease:
        """The right to write this shard; hold it while encoding and filling. Raises HeldError on entering."""
        index = self._index(shard)
        return Lease(self.files, f"{self.prefix}/claims/{index:06d}.json", what=f"{self.key}, {shard},")

    def token_writer(self, shard: Shard, layers: Collection[str]) -> TokenWriter:
        """Takes the tokens of one shard while it is encoded; goes into `fill` when it has them all."""
        return TokenWriter(self._tokens, shard, layers)

    def fill(
        self,
        shard: Shard,
        features: Mapping[str, np.ndarray],
        *,
        skipped: Mapping[int, str] | None = None,
        tokens: TokenWriter | None = None,
    ) -> None:
        """Write one whole shard: `{column: (len(shard), width) float}`; durable when the call returns.

        `skipped` maps rows of the feature set (absolute numbers) to the reason why they have no values. Raises
        StructureError for a NaN or an infinity, OverflowError16 for a value beyond float16, both naming layer and
        sample; ValueError for anything that is not exactly this shard.
        """
        index = self._index(shard)
        missing, earlier = dict(skipped or {}), self._markers.read(index)
        if any(not shard.start <= row < shard.stop for row in missing):
            raise ValueError(f"skipped rows {sorted(missing)} are not all in {shard}")
        if earlier is not None:
            self._require_same_skipped(shard, earlier.skipped, missing)
        with ThreadPoolExecutor(WRITERS) as pool:
            stored = pool.map(
                lambda name: storable_shard(
                    features[name], shard, self._column(name), missing, key=self.key, sample=self._sample
                ),
                features,
            )
            prepared = dict(zip(features, stored, strict=True))  # all are sound before any is written
            checksums = pool.map(
                lambda name: write_chunk(
                    self.files,
                    self._layers.chunk_key(self._column(name), index),
                    prepared[name],
                    rows=self.manifest.shard_rows,
                    level=self.manifest.zstd_level,
                ),
                prepared,
            )
            written = {name: (self._column(name).dtype, crc) for name, crc in zip(prepared, checksums, strict=True)}
        finished = tokens.finish(missing) if tokens is not None else {}
        marker = CompletionMarker(shard.start, shard.stop, written, missing, finished)
        self._markers.write(index, marker if earlier is None else marker.after(earlier))

    def tidy(self) -> None:
        """Remove what killed writers left: stale leases and, if no lease is left, half-written files."""
        if not remove_stale(self.files, f"{self.prefix}/claims"):
            self.files.sweep(self.prefix)

    def widen(self, name: str) -> FeatureSet:
        """The same set with one column in float32; its shards are pending again, nothing else is touched."""
        wider = FeatureSet(self.files, self.prefix, self.manifest.widened(name))
        return wider._write_metadata(self.ids.tolist(), self.token_lengths)

    def _write_metadata(self, ids: Sequence[str], lengths: np.ndarray | None) -> FeatureSet:
        """Everything that follows from the manifest, and last the manifest, which makes it count."""
        for name, data in zarr_documents(self.manifest, list(ids), lengths).items():
            self.files.write(f"{self.prefix}/{name}", data)
        self.files.write(f"{self.prefix}/manifest.json", self.manifest.to_json())
        return self

    def _require_same_skipped(self, shard: Shard, earlier: Mapping[int, str], now: Mapping[int, str]) -> None:
        """A row is skipped in all columns or in none: columns that come later keep to what the first ones found."""
        for row in sorted(earlier.keys() ^ now.keys()):
            then, reason = ("could not", earlier[row]) if row in earlier else ("could", now[row])
            raise StructureError(
                f"{self.key}: sample {self.ids[row]} {then} be read when the other columns of {shard} were written; "
                f"now that is different ({reason}). Nothing of {shard} was saved. Put the data back as they were."
            )

    # -- reading --------------------------------------------------------------------------------------------------

    def rows(self, layer: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows `[start, stop)` of a layer, `(stop - start, width)`, in the stored dtype; every shard is checked.

        Skipped rows are NaN. Raises DamageError for bytes that changed and StructureError for shards not written yet.
        """
        column = self._column(layer)
        out = page_aligned((self._stop(start, stop) - start, column.width), dtype=column.dtype)
        self.read_rows(layer, start, out)
        return out

    def read_rows(self, layer: str, start: int, into: np.ndarray, *, checked: set[str] | None = None) -> None:
        """`rows` into memory that is there: `into` (n, width), C-contiguous, of the stored dtype. A reader that comes
        again may keep `checked`: chunks in it are not checked once more, the others are, and are added."""
        self._stop(start, start + len(into))
        with self._told_how_to_repair():
            self._layers.read(self._column(layer), start, into, self._markers.known(), checked)

    def view_rows(self, layer: str, start: int, stop: int, *, checked: set[str]) -> list[np.ndarray]:
        """`read_rows` without a copy, where `in_place`: read-only pieces of consecutive rows."""
        self._stop(start, stop)
        with self._told_how_to_repair():
            return self._layers.view(self._column(layer), start, stop, self._markers.known(), checked)

    def tokens(self, layer: str, start: int = 0, stop: int | None = None) -> Tokens:
        """Tokens of a layer of rows `[start, stop)`, in the stored dtype; only the chunks that hold one are read, every
        one is checked. Skipped rows have no token. Raises as `rows` does.
        """
        stop, markers = self._stop(start, stop), self._markers.known()
        column, offsets = self._tokens.column(layer), self.token_offsets(layer, start, stop)
        values = page_aligned((int(offsets[-1]), column.width), dtype=column.dtype)
        self.read_tokens(layer, start, stop, values)
        skipped = [row - start for marker in markers.values() for row in marker.skipped if start <= row < stop]
        return Tokens(values, offsets, column.prefix, column.grid).without(skipped)

    def token_column(self, layer: str) -> TokenColumn:
        """What is on record of a layer's tokens: width, dtype, tokens a row, prefix, grid. Raises StructureError."""
        return self._tokens.column(layer)

    def token_offsets(self, layer: str, start: int, stop: int) -> np.ndarray:
        """(stop - start + 1,) int64: where each row's tokens begin in what `read_tokens` reads, skipped rows too."""
        return self._tokens.offsets(self._tokens.column(layer), start, stop)

    def read_tokens(
        self, layer: str, start: int, stop: int, into: np.ndarray, *, checked: set[str] | None = None
    ) -> None:
        """Tokens of rows `[start, stop)` into memory that is there: `into` (tokens, width); those of skipped rows are
        NaN. `checked` as in `read_rows`."""
        with self._told_how_to_repair():
            self._tokens.read(self._tokens.column(layer), start, stop, into, self._markers.known(), checked)

    def column(self, layer: str) -> LayerRows:
        """A layer as a lazy array: `.shape`, `.dtype`, `[start:stop]`."""
        column = self._column(layer)
        shape = self.manifest.rows, column.width
        return LayerRows(column.name, shape, np.dtype(column.dtype), self.manifest.shards, partial(self.rows, layer))

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

    @property
    def in_place(self) -> bool:
        """Whether `view_rows` works: uncompressed layers in a folder of this machine."""
        return self._layers.in_place

    @contextmanager
    def _told_how_to_repair(self) -> Iterator[None]:
        try:
            yield
        except DamageError as error:
            raise DamageError(f"{error} Repair the feature set {self.key}.", feature_set=self.key) from None

    @cached_property
    def _markers(self) -> CompletionMarkers:
        return CompletionMarkers(self.files, self.prefix, self.manifest)

    @cached_property
    def _layers(self) -> LayerFiles:
        return LayerFiles(self.files, self.prefix, self.manifest)

    @cached_property
    def _tokens(self) -> TokenFiles:
        return TokenFiles(self.files, self.prefix, self.manifest)

    def _stop(self, start: int, stop: int | None) -> int:
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"{self.key} has rows 0 to {len(self)}; [{start}, {stop}) was asked for")
        return stop

    def _sample(self, row: int) -> str:
        return str(self.ids[row])

    def _column(self, layer: str) -> Column:
        try:
            return self.manifest.column(layer)
        except StopIteration:
            raise unknown("layer", layer, self.layers, hint=f"It was looked for in {self.key}.") from None

    def _index(self, shard: Shard) -> int:
        index = shard.start // self.manifest.shard_rows
        if index >= len(self.manifest.shards) or self.manifest.shards[index] != shard:
            raise ValueError(f"{self.key}: {shard} is not one of its shards of {self.manifest.shard_rows} rows")
        return index
