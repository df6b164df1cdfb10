"""One column on disk: where its chunks lie, reading rows of it, and checking it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property

import numpy as np

from structure.store.cast import all_finite
from structure.store.chunk import read_chunk, view_chunk
from structure.store.column_layout import ColumnLayout, Span
from structure.store.completion_markers import CompletionMarker
from structure.store.errors import DamageError, StructureError
from structure.store.files import Files
from structure.store.manifest import Manifest


class ColumnReader:
    """The chunks of one column of a feature set."""

    def __init__(self, files: Files, prefix: str, manifest: Manifest, layout: ColumnLayout) -> None:
        self.files, self.prefix, self.manifest = files, prefix, manifest
        self.layout, self.column = layout, layout.column

    @cached_property
    def in_place(self) -> bool:
        """Whether `view` shows rows where they lie: uncompressed, in a folder of this machine, its order of bytes."""
        return self.files.mapped and self.manifest.zstd_level is None and sys.byteorder == "little"

    def read(
        self,
        start: int,
        stop: int,
        into: np.ndarray,
        markers: Mapping[int, CompletionMarker],
        checked: set[str] | None = None,
    ) -> None:
        """Fill `into` (vectors, width), C-contiguous, of the stored dtype, with the vectors of rows `[start, stop)`.

        Those of skipped rows are NaN. Only chunks that hold one of them are read, and every one is checked but for
        those that are in `checked` already, which gets the others.

        Raises DamageError for bytes that changed and StructureError for shards not written yet.
        """
        size, vector = self.layout.chunk_vectors, self.column.vector_bytes

        def read(span: Span) -> None:
            with self._checking(span, markers, checked) as (key, expected):
                read_chunk(
                    self.files,
                    key,
                    into[span.place : span.place + span.high - span.low],
                    compressed=self.manifest.zstd_level is not None,
                    expected=expected,
                    before=span.low * vector,
                    after=(size - span.high) * vector,
                )

        spans = self.layout.spans(start, stop)
        if len(spans) == 1:
            read(spans[0])
        else:
            with ThreadPoolExecutor(self.files.readers) as pool:
                list(pool.map(read, spans))

    def view(
        self, start: int, stop: int, markers: Mapping[int, CompletionMarker], checked: set[str]
    ) -> list[np.ndarray]:
        """What `read` would fill in, not copied: read-only pieces (n, width) of one chunk each, in their order. They
        keep their values when the chunk is replaced. Raises as `read`."""
        size, vector, pieces = self.layout.chunk_vectors, self.column.vector_bytes, []
        for span in self.layout.spans(start, stop):
            with self._checking(span, markers, checked) as (key, expected):
                low, high = span.low * vector, span.high * vector
                data = view_chunk(self.files, key, low, high, size=size * vector, expected=expected)
            pieces.append(np.frombuffer(data, dtype=self.column.dtype).reshape(span.high - span.low, -1))
        return pieces

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one chunk, before compression."""
        return self.layout.chunk_vectors * self.column.vector_bytes

    def faults(self, index: int, marker: CompletionMarker, memory: np.ndarray) -> Iterator[str]:
        """What is not as it was written in one shard of the column. `memory` (uint8) is where chunks are read to."""
        column, shard, size = self.column, self.manifest.shards[index], self.layout.chunk_vectors
        dtype, checksums = marker.columns.get(column.path, ("", ()))
        numbers = range(self.layout.first[index], self.layout.first[index + 1])
        if dtype != column.dtype or len(checksums) != len(numbers):
            yield f"not written as {column.dtype}"
            return
        offsets = self.layout.offsets(shard.start, shard.stop)
        skipped = np.isin(np.arange(shard.start, shard.stop), list(marker.skipped))
        expected_empty = np.repeat(skipped, np.diff(offsets))
        whole = memory[: self.chunk_bytes].view(column.dtype).reshape(size, column.width)
        for chunk, (number, crc) in enumerate(zip(numbers, checksums, strict=True)):
            try:
                packed = self.manifest.zstd_level is not None
                read_chunk(self.files, self._key(number), whole, compressed=packed, expected=crc)
            except (StructureError, OSError, RuntimeError) as error:
                yield str(error)
                continue
            here = expected_empty[chunk * size : (chunk + 1) * size]
            if not here.any() and all_finite(whole[: len(here)]):
                continue
            empty = ~np.asarray(np.isfinite(whole[: len(here)]).all(axis=1))
            for place in np.flatnonzero(empty != here)[:1]:
                row = shard.start + int(np.searchsorted(offsets, chunk * size + place, side="right")) - 1
                yield f"row {row} is {'not finite' if empty[place] else 'finite, but was skipped'}"

    def _key(self, number: int) -> str:
        return f"{self.prefix}/{self.layout.chunk_key(number)}"

    @contextmanager
    def _checking(
        self, span: Span, markers: Mapping[int, CompletionMarker], checked: set[str] | None
    ) -> Iterator[tuple[str, str | None]]:
        """The key of one chunk, and the checksum that it must have where it was not checked yet."""
        written = markers[span.index].columns if span.index in markers else {}
        dtype, checksums = written.get(self.column.path, ("", ()))
        if dtype != self.column.dtype:
            raise StructureError(
                f"{self.manifest.key}, {self.column.label}, {self.manifest.shards[span.index]} are not written yet "
                f"({len(markers)} of {len(self.manifest.shards)} shards are begun). Run the same extract command again "
                "to finish."
            )
        key = self._key(span.number)
        try:
            yield key, None if checked is not None and key in checked else checksums[span.chunk]
        except DamageError as error:
            told = f"{error} Repair the feature set {self.manifest.key}."
            raise DamageError(told, feature_set=self.manifest.key) from None
        if checked is not None:
            checked.add(key)
