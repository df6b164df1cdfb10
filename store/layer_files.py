"""Pooled layers on disk: reading rows of them, and nothing but the chunks that hold these."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from structure.store.chunk import read_chunk, view_chunk
from structure.store.completion_marker import CompletionMarker
from structure.store.errors import StructureError
from structure.store.files import Files
from structure.store.manifest import Column, Manifest
from structure.store.shard import overlapping


class LayerFiles:
    """The layers of one feature set."""

    def __init__(self, files: Files, prefix: str, manifest: Manifest) -> None:
        self.files, self.prefix, self.manifest = files, prefix, manifest

    @property
    def in_place(self) -> bool:
        """Whether `view` shows rows where they lie: uncompressed, in a folder of this machine, its order of bytes."""
        return self.files.mapped and self.manifest.zstd_level is None and sys.byteorder == "little"

    def chunk_key(self, column: Column, index: int) -> str:
        """The file of one shard of the column."""
        return f"{self.prefix}/{column.name}/c/{index}/0"

    def read(
        self,
        column: Column,
        start: int,
        into: np.ndarray,
        markers: Mapping[int, CompletionMarker],
        checked: set[str] | None = None,
    ) -> None:
        """Fill `into` (n, width) with the rows `[start, start + n)`; every chunk is checked but for those that are in
        `checked` already, which gets the others.

        Raises DamageError for bytes that changed and StructureError for shards not written yet.
        """
        rows, stop = self.manifest.shard_rows, start + len(into)

        def read(index: int) -> None:
            shard = self.manifest.shards[index]
            low, high = max(start, shard.start), min(stop, shard.stop)
            with self._checking(column, index, markers, checked) as (key, expected):
                read_chunk(
                    self.files,
                    key,
                    into[low - start : high - start],
                    compressed=self.manifest.zstd_level is not None,
                    expected=expected,
                    before=(low - shard.start) * column.row_bytes,
                    after=(shard.start + rows - high) * column.row_bytes,
                )

        touched = overlapping(start, stop, rows)
        if len(touched) == 1:
            read(touched[0])
        else:
            with ThreadPoolExecutor(self.files.readers) as pool:
                list(pool.map(read, touched))

    def view(
        self, column: Column, start: int, stop: int, markers: Mapping[int, CompletionMarker], checked: set[str]
    ) -> list[np.ndarray]:
        """What `read` would fill in, not copied: read-only pieces (n, width) of one chunk each, in the order of their
        rows. They keep their values when the chunk is replaced. Raises as `read`."""
        rows, row, pieces = self.manifest.shard_rows, column.row_bytes, []
        for index in overlapping(start, stop, rows):
            shard = self.manifest.shards[index]
            low, high = max(start, shard.start) - shard.start, min(stop, shard.stop) - shard.start
            with self._checking(column, index, markers, checked) as (key, expected):
                data = view_chunk(self.files, key, low * row, high * row, size=rows * row, expected=expected)
            pieces.append(np.frombuffer(data, dtype=column.dtype).reshape(high - low, -1))
        return pieces

    @contextmanager
    def _checking(
        self, column: Column, index: int, markers: Mapping[int, CompletionMarker], checked: set[str] | None
    ) -> Iterator[tuple[str, str | None]]:
        """The key of one chunk, and the checksum that it must have where it was not checked yet."""
        dtype, crc = markers[index].chunks.get(column.name, ("", "")) if index in markers else ("", "")
        if dtype != column.dtype:
            raise StructureError(
                f"{self.manifest.key}, layer {column.name}, {self.manifest.shards[index]} are not written yet "
                f"({len(markers)} of {len(self.manifest.shards)} shards are begun). Run the same extract command again "
                "to finish."
            )
        key = self.chunk_key(column, index)
        yield key, None if checked is not None and key in checked else crc
        if checked is not None:
            checked.add(key)
