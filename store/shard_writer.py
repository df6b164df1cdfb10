"""One shard while it is written: the one owner of its lease, a writer for each column, last the completion marker."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, wait
from threading import Lock
from types import TracebackType

import numpy as np

from structure.store.chunk import write_chunk
from structure.store.column_writer import ColumnWriter, Numbers
from structure.store.completion_markers import CompletionMarker
from structure.store.errors import StructureError
from structure.store.feature_set import FeatureSet
from structure.store.files import Files, write_threads
from structure.store.lease import FOLDER, Lease
from structure.store.shard_ranges import Shard

WAITING_BYTES = 64 * 2**20
"""Bytes of chunks that may wait to be written: who hands over more waits."""


def lease_of(features: FeatureSet, shard: Shard) -> Lease:
    """The right to write this shard of the feature set."""
    index = features.index_of(shard)
    return Lease(features.files, f"{features.prefix}/{FOLDER}/{index:06d}.json", what=f"{features.key}, {shard},")


class ShardWriter:
    """Takes the rows of one shard as they are encoded, in any order; the shard exists when `commit` returns.

    It holds the shard's lease from `acquire` (or entering the context) to `release` (or leaving it); what was not
    committed then counts for nothing. `skipped` maps rows of the feature set that could not be read to the reason; it
    has those that other columns of the shard were written without, and takes more until the commit.
    """

    def __init__(self, features: FeatureSet, shard: Shard) -> None:
        self.features, self.shard = features, shard
        self.lease = lease_of(features, shard)
        self.skipped: dict[int, str] = {}
        self._columns: dict[str, ColumnWriter] = {}
        self._pool = _ChunkPool(features.files, level=features.manifest.zstd_level)

    def acquire(self) -> ShardWriter:
        """Take the lease. Raises HeldError where somebody alive holds it."""
        self.lease.acquire()
        self._earlier = self.features.completion.read(self.features.index_of(self.shard))
        self.skipped = dict(self._earlier.skipped) if self._earlier is not None else {}
        return self

    def release(self) -> None:
        """Give the lease back, and forget what was not committed; a second call does nothing."""
        self._pool.close()
        self._columns = {}
        self.lease.release()

    def __enter__(self) -> ShardWriter:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def lacking(self) -> tuple[str, ...]:
        """Paths of the columns that the shard lacks; none where it is done."""
        return self.features.completion.lacking(self._earlier)

    def put(self, path: str, rows: Numbers, values: np.ndarray, lengths: Numbers | None = None) -> None:
        """Rows of one column, as `ColumnWriter.put` takes them; raises as it does."""
        if path not in self._columns:
            self._columns[path] = self._column_writer(path)
        self._columns[path].put(rows, values, lengths)

    def _column_writer(self, path: str) -> ColumnWriter:
        features, layout = self.features, self.features.layout(path)
        return ColumnWriter(
            features.key,
            layout,
            self.shard,
            write=lambda number, values: self._pool.write(
                f"{features.prefix}/{layout.chunk_key(number)}", values, rows=layout.chunk_vectors
            ),
            sample=lambda row: str(features.ids[row]),
        )

    def commit(self) -> None:
        """Write the completion marker, when everything that was put is durable.

        Raises ValueError where a column lacks rows, StructureError where other rows were skipped when other columns of
        the shard were written.
        """
        shard, earlier = self.shard, self._earlier
        if any(not shard.start <= row < shard.stop for row in self.skipped):
            raise ValueError(f"skipped rows {sorted(self.skipped)} are not all in {shard}")
        if earlier is not None:
            self._require_same_skipped(earlier.skipped)
        written = {path: column.commit(self.skipped) for path, column in self._columns.items()}
        marker = CompletionMarker(shard.start, shard.stop, written, dict(self.skipped))
        index = self.features.index_of(shard)
        self.features.completion.write(index, marker if earlier is None else marker.after(earlier))

    def _require_same_skipped(self, earlier: Mapping[int, str]) -> None:
        """A row is skipped in all columns or in none: columns that come later keep to what the first ones found."""
        features, shard = self.features, self.shard
        for row in sorted(earlier.keys() ^ self.skipped.keys()):
            then, reason = ("could not", earlier[row]) if row in earlier else ("could", self.skipped[row])
            raise StructureError(
                f"{features.key}: sample {features.ids[row]} {then} be read when the other columns of {shard} were "
                f"written; now that is different ({reason}). Nothing of {shard} was saved. Put the data back as they "
                "were."
            )


class _ChunkPool:
    """Writes chunks on threads, at most `WAITING_BYTES` of them at a time (one where a chunk has more)."""

    def __init__(self, files: Files, *, level: int | None) -> None:
        self._files, self._level = files, level
        self._waiting: dict[Future[str], int] = {}
        self._lock = Lock()
        self._closed = False

    def write(self, key: str, values: np.ndarray, *, rows: int) -> Future[str]:
        """Begin to write a chunk; the future gives its CRC-32C as hex when it is durable. See `write_chunk`."""
        with self._lock:
            if self._closed:
                raise RuntimeError(f"{key}: the shard's lease was given back, and it is not written any more")
            while (pending := self._still_waiting()) and sum(pending.values()) + values.nbytes > WAITING_BYTES:
                next(iter(pending)).exception()  # wait for it; whoever commits gets what it raised
            writing = write_threads().submit(write_chunk, self._files, key, values, rows=rows, level=self._level)
            self._waiting[writing] = values.nbytes
        return writing

    def close(self) -> None:
        """Stop: what has not begun is not written."""
        with self._lock:
            self._closed = True
            waiting = list(self._still_waiting())
        wait([future for future in waiting if not future.cancel()])

    def _still_waiting(self) -> dict[Future[str], int]:
        self._waiting = {future: size for future, size in self._waiting.items() if not future.done()}
        return self._waiting


def write_shard(
    features: FeatureSet, shard: Shard, values: Mapping[str, np.ndarray], *, skipped: Mapping[int, str] | None = None
) -> None:
    """Write one whole shard of pooled layers, `{layer: (len(shard), width) float}`; durable when the call returns.

    `skipped` maps rows of the feature set to the reason why they have no values; what `values` has of them is not
    written. Raises HeldError where somebody else writes the shard, and as `ShardWriter.put` and `commit` do.
    """
    with ShardWriter(features, shard) as writer:
        writer.skipped = dict(skipped or {})
        rows = np.arange(shard.start, shard.stop)
        if writer.skipped:
            rows = np.setdiff1d(rows, list(writer.skipped))
        kept = slice(None) if len(rows) == len(shard) else rows - shard.start
        for layer, of_layer in values.items():
            if len(of_layer) != len(shard):
                raise ValueError(f"{features.key}, {layer}: a shard is written whole, not {len(of_layer)} rows")
            writer.put(layer, rows, of_layer[kept])
        writer.commit()
