"""Pooled layers on disk: reading rows of them, and nothing but the chunks that hold these."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from structure.store.chunk import read_chunk
from structure.store.errors import StructureError
from structure.store.files import Files
from structure.store.manifest import Column, Manifest
from structure.store.mark import Mark
from structure.store.shard import overlapping

THREADS = 4


class LayerFiles:
    """The layers of one feature set."""

    def __init__(self, files: Files, prefix: str, manifest: Manifest) -> None:
        self.files, self.prefix, self.manifest = files, prefix, manifest

    def chunk_key(self, column: Column, index: int) -> str:
        """The file of one shard of the column."""
        return f"{self.prefix}/{column.name}/c/{index}/0"

    def read(
        self,
        column: Column,
        start: int,
        into: np.ndarray,
        marks: Mapping[int, Mark],
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
            dtype, crc = marks[index].chunks.get(column.name, ("", "")) if index in marks else ("", "")
            if dtype != column.dtype:
                raise StructureError(
                    f"{self.manifest.key}, layer {column.name}, {shard} are not written yet ({len(marks)} of "
                    f"{len(self.manifest.shards)} shards are begun). Run the same extract command again to finish."
                )
            key = self.chunk_key(column, index)
            read_chunk(
                self.files,
                key,
                into[low - start : high - start],
                compressed=self.manifest.zstd_level is not None,
                expected=None if checked is not None and key in checked else crc,
                before=(low - shard.start) * column.row_bytes,
                after=(shard.start + rows - high) * column.row_bytes,
            )
            if checked is not None:
                checked.add(key)

        touched = overlapping(start, stop, rows)
        if len(touched) == 1:
            read(touched[0])
        else:
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(read, touched))
