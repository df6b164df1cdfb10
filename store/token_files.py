"""Token columns on disk: where their chunks lie, reading rows of them, and checking them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np

from structure.store.chunk import read_chunk
from structure.store.errors import DamageError, StructureError, unknown
from structure.store.files import Files
from structure.store.manifest import Manifest, TokenColumn, lengths_digest
from structure.store.mark import Mark
from structure.store.shard import overlapping
from structure.store.token_layout import TokenLayout
from structure.store.tokens import Tokens
from structure.store.zarr_metadata import read_lengths

THREADS = 4


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
        """The token column of that layer. Raises StructureError, with what to type, where its tokens are not kept."""
        for column in self.manifest.tokens:
            if column.name == layer:
                return column
        kept = [column.name for column in self.manifest.tokens]
        raise unknown("token layer", layer, kept, hint=f"Keep its tokens: structure extract ... --tokens {layer}")

    def layout(self, column: TokenColumn) -> TokenLayout:
        """Where the column's tokens lie."""
        return TokenLayout(column, self.manifest.shards, self.lengths if column.tokens is None else None)

    def read(self, layer: str, start: int, stop: int, marks: Mapping[int, Mark]) -> Tokens:
        """Tokens of rows `[start, stop)`; only chunks that hold one of them are read, and every one is checked."""
        column = self.column(layer)
        layout, size = self.layout(column), column.chunk_tokens
        jobs: list[tuple[int, int, int, int, int]] = []  # shard, chunk of the run, part [low, high) of it, place in out
        offsets = [np.zeros(1, dtype=np.int64)]
        skipped: list[int] = []
        total = 0
        for index in overlapping(start, stop, self.manifest.shard_rows):
            shard = self.manifest.shards[index]
            run = layout.offsets(shard)
            here = run[max(start, shard.start) - shard.start : min(stop, shard.stop) - shard.start + 1]
            first, last = int(here[0]), int(here[-1])
            for chunk in overlapping(first, last, size):
                low, high = max(first, chunk * size), min(last, (chunk + 1) * size)
                jobs.append((index, chunk, low - chunk * size, high - chunk * size, total + low - first))
            offsets.append(here[1:] - first + total)
            total += last - first
            skipped += [row - start for row in (marks[index].skipped if index in marks else ()) if start <= row < stop]
        out = np.empty((total, column.width), dtype=column.dtype)

        def read(job: tuple[int, int, int, int, int]) -> None:
            index, chunk, low, high, place = job
            target = out[place : place + high - low]
            crc = self._written(column, index, marks)[chunk]
            key = self.chunk_key(column, layout.first[index] + chunk)
            if high - low == size:
                self._read(key, target, crc)
            else:
                whole = np.empty((size, column.width), dtype=column.dtype)
                self._read(key, whole, crc)
                target[:] = whole[low:high]

        if len(jobs) == 1:
            read(jobs[0])
        else:
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(read, jobs))
        return _without(Tokens(out, np.concatenate(offsets), column.prefix, column.grid), skipped)

    def chunk_key(self, column: TokenColumn, number: int) -> str:
        """The file of one chunk."""
        return f"{self.prefix}/{column.path}/c/{number}/0{'' if column.tokens is None else '/0'}"

    def faults(self, column: TokenColumn, index: int, mark: Mark) -> Iterator[str]:
        """What is not as it was written in one shard of the column."""
        dtype, checksums = mark.tokens.get(column.name, ("", ()))
        layout, shard, size = self.layout(column), self.manifest.shards[index], column.chunk_tokens
        numbers = range(layout.first[index], layout.first[index + 1])
        if dtype != column.dtype or len(checksums) != len(numbers):
            yield f"not written as {column.dtype}"
            return
        offsets = layout.offsets(shard)
        told = np.repeat(np.isin(np.arange(shard.start, shard.stop), list(mark.skipped)), np.diff(offsets))
        whole = np.empty((size, column.width), dtype=column.dtype)
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

    def _written(self, column: TokenColumn, index: int, marks: Mapping[int, Mark]) -> tuple[str, ...]:
        dtype, checksums = marks[index].tokens.get(column.name, ("", ())) if index in marks else ("", ())
        if dtype != column.dtype:
            raise StructureError(
                f"{self.manifest.key}, tokens of layer {column.name}, {self.manifest.shards[index]} are not written "
                "yet. Run the same extract command again to finish."
            )
        return checksums

    def _read(self, key: str, into: np.ndarray, crc: str) -> None:
        read_chunk(self.files, key, into, compressed=self.manifest.zstd_level is not None, expected=crc)


def _without(tokens: Tokens, skipped: Sequence[int]) -> Tokens:
    """The same without any token of the rows that were skipped."""
    if not skipped:
        return tokens
    lengths = tokens.lengths
    gone = np.zeros(len(tokens), dtype=bool)
    gone[list(skipped)] = True
    kept = np.repeat(~gone, lengths)
    return Tokens(
        tokens.values[kept], np.concatenate([[0], np.cumsum(np.where(gone, 0, lengths))]), tokens.prefix, tokens.grid
    )
