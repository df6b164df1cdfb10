"""Token columns on disk: where their chunks lie, reading rows of them, and checking them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np

from structure.store.chunk import page_aligned, read_chunk
from structure.store.completion_marker import CompletionMarker
from structure.store.errors import DamageError, StructureError, unknown
from structure.store.files import Files
from structure.store.manifest import Manifest, TokenColumn, lengths_digest
from structure.store.shard import overlapping
from structure.store.token_layout import TokenLayout
from structure.store.zarr_metadata import read_lengths


class TokenFiles:
    """The token columns of one feature set."""

    def __init__(self, files: Files, prefix: str, manifest: Manifest) -> None:
        self.files, self.prefix, self.manifest = files, prefix, manifest

    @cached_property
    def lengths(self) -> np.ndarray | None:
        """(rows,) int64 token counts of texts, None where all rows have as many. Raises DamageError if they changed."""
        if not self.manifest.is_ragged:
            return None
        try:
            lengths = read_lengths(self.files, self.prefix)
        except Exception as error:  # zarr raises many kinds on damaged metadata; all mean the same here
            raise DamageError(f"The token counts of {self.manifest.key} do not read ({error}).") from None
        if lengths_digest(lengths) != self.manifest.lengths:
            raise DamageError(f"The token counts of {self.manifest.key} have changed.")
        return lengths

    def column(self, layer: str) -> TokenColumn:
        """The token column of that layer. Raises StructureError, with what to type, where its tokens are not saved."""
        for column in self.manifest.tokens:
            if column.name == layer:
                return column
        kept = [column.name for column in self.manifest.tokens]
        raise unknown("token layer", layer, kept, hint=f"It has no stored tokens: extract with --tokens {layer}.")

    def layout(self, column: TokenColumn) -> TokenLayout:
        """Where the column's tokens lie."""
        return TokenLayout(column, self.manifest.shards, self.lengths if column.tokens is None else None)

    def offsets(self, column: TokenColumn, start: int, stop: int) -> np.ndarray:
        """(stop - start + 1,) int64: where the tokens of each of the rows begin among theirs, and where they end."""
        if column.tokens is not None:
            return np.arange(stop - start + 1, dtype=np.int64) * column.tokens
        assert self.lengths is not None
        return np.concatenate([[0], np.cumsum(self.lengths[start:stop])])

    def read(
        self,
        column: TokenColumn,
        start: int,
        stop: int,
        into: np.ndarray,
        markers: Mapping[int, CompletionMarker],
        checked: set[str] | None = None,
    ) -> None:
        """Fill `into` (tokens, width) with all tokens of the rows `[start, stop)`; those of skipped rows are NaN. Only
        chunks that hold one of them are read, and every one is checked but for those that are in `checked` already,
        which gets the others.
        """
        layout, size = self.layout(column), column.chunk_tokens
        token = column.width * into.itemsize
        jobs: list[tuple[int, int, int, int, int]] = []  # shard, chunk of its run, [low, high) of it, place in into
        done = 0
        for index in overlapping(start, stop, self.manifest.shard_rows):
            shard = self.manifest.shards[index]
            run = layout.offsets(shard)
            first = int(run[max(start, shard.start) - shard.start])
            last = int(run[min(stop, shard.stop) - shard.start])
            for chunk in overlapping(first, last, size):
                low, high = max(first, chunk * size), min(last, (chunk + 1) * size)
                jobs.append((index, chunk, low - chunk * size, high - chunk * size, done + low - first))
            done += last - first

        def read(job: tuple[int, int, int, int, int]) -> None:
            index, chunk, low, high, place = job
            key, crc = self.chunk_key(column, layout.first[index] + chunk), self._written(column, index, markers)[chunk]
            self._read(
                key,
                into[place : place + high - low],
                None if checked is not None and key in checked else crc,
                before=low * token,
                after=(size - high) * token,
            )
            if checked is not None:
                checked.add(key)

        if len(jobs) == 1:
            read(jobs[0])
        else:
            with ThreadPoolExecutor(self.files.readers) as pool:
                list(pool.map(read, jobs))

    def chunk_key(self, column: TokenColumn, number: int) -> str:
        """The file of one chunk."""
        return f"{self.prefix}/{column.path}/c/{number}/0{'' if column.tokens is None else '/0'}"

    def faults(self, column: TokenColumn, index: int, marker: CompletionMarker) -> Iterator[str]:
        """What is not as it was written in one shard of the column."""
        dtype, checksums = marker.tokens.get(column.name, ("", ()))
        layout, shard, size = self.layout(column), self.manifest.shards[index], column.chunk_tokens
        numbers = range(layout.first[index], layout.first[index + 1])
        if dtype != column.dtype or len(checksums) != len(numbers):
            yield f"not written as {column.dtype}"
            return
        offsets = layout.offsets(shard)
        told = np.repeat(np.isin(np.arange(shard.start, shard.stop), list(marker.skipped)), np.diff(offsets))
        whole = page_aligned((size, column.width), dtype=column.dtype)
        for chunk, (number, crc) in enumerate(zip(numbers, checksums, strict=True)):
            try:
                self._read(self.chunk_key(column, number), whole, crc)
            except (StructureError, OSError, RuntimeError) as error:
                yield str(error)
                continue
            here = told[chunk * size : (chunk + 1) * size]
            empty = ~np.asarray(np.isfinite(whole[: len(here)]).all(axis=1))
            for place in np.flatnonzero(empty != here)[:1]:
                row = shard.start + int(np.searchsorted(offsets, chunk * size + place, side="right")) - 1
                yield f"a token of row {row} is {'not finite' if empty[place] else 'finite, but was skipped'}"

    def _written(self, column: TokenColumn, index: int, markers: Mapping[int, CompletionMarker]) -> tuple[str, ...]:
        dtype, checksums = markers[index].tokens.get(column.name, ("", ())) if index in markers else ("", ())
        if dtype != column.dtype:
            raise StructureError(
                f"{self.manifest.key}, tokens of layer {column.name}, {self.manifest.shards[index]} are not written "
                "yet. Run the same extract command again to finish."
            )
        return checksums

    def _read(self, key: str, into: np.ndarray, crc: str | None, *, before: int = 0, after: int = 0) -> None:
        packed = self.manifest.zstd_level is not None
        read_chunk(self.files, key, into, compressed=packed, expected=crc, before=before, after=after)
