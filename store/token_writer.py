"""The tokens of a shard while it is encoded: put into their chunks, which are written as they become whole."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from structure.store.cast import storable
from structure.store.chunk import write_chunk
from structure.store.errors import StructureError
from structure.store.manifest import TokenColumn
from structure.store.shard import Shard
from structure.store.token_files import TokenFiles
from structure.store.zarr_metadata import read_ids

WRITERS = 4


@dataclass
class _Run:
    """One column of a shard while it is written: `left` are the real tokens that each chunk still lacks."""

    column: TokenColumn
    first: int
    offsets: np.ndarray
    left: np.ndarray
    buffers: dict[int, np.ndarray] = field(default_factory=dict)


class TokenWriter:
    """The tokens of one shard on their way to the disk: a chunk is written as soon as it has all of its tokens.

    Rows may come in any order. Rows that come in order, as images do, keep one chunk a layer in memory, besides at
    most `WRITERS` that are being written.
    """

    def __init__(self, tokens: TokenFiles, shard: Shard, layers: Collection[str]) -> None:
        self._files, self._shard = tokens, shard
        self._runs = {layer: self._run(tokens.column(layer), tokens.manifest.shards.index(shard)) for layer in layers}
        self._written: dict[tuple[str, int], Future[str]] = {}
        self._pool = ThreadPoolExecutor(WRITERS)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that are written."""
        return tuple(self._runs)

    def put(self, layer: str, rows: Sequence[int], values: np.ndarray, lengths: Sequence[int]) -> None:
        """Take `values` (tokens, width): the tokens of `rows` of the feature set one after another, `lengths` each.

        Raises StructureError for a row with other than the planned tokens, a NaN or an infinity; OverflowError16.
        """
        run = self._runs[layer]
        places = np.asarray(rows, dtype=np.int64) - self._shard.start
        planned, ends = np.diff(run.offsets)[places], np.cumsum(lengths)
        for row, have, wanted in zip(rows, lengths, planned, strict=True):
            if have != wanted:
                raise StructureError(
                    f"{self._files.manifest.key}: row {row} has {have} tokens now and {wanted} were planned in layer "
                    f"{layer}. Nothing of {self._shard} was saved. Is it the same tokenizer?"
                )

        def sample(token: int) -> str:
            which = int(np.searchsorted(ends, token, side="right"))
            return f"{self._ids[rows[which]]}, token {token - int(ends[which] - lengths[which])}"

        stored = storable(
            values,
            run.column.dtype,
            key=self._files.manifest.key,
            column=run.column.path,
            what=str(self._shard),
            sample=sample,
        )
        breaks = [0, *(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
        for begin, end in pairwise(breaks):  # rows that follow one another go in one piece
            low, high = int(ends[begin] - lengths[begin]), int(ends[end - 1])
            self._spread(run, int(run.offsets[places[begin]]), stored[low:high])

    def finish(self, skipped: Collection[int] = ()) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Wait until everything is durable; `{layer: (dtype, CRC-32C of each chunk)}` for the completion marker.

        `skipped` rows have NaN for tokens. Raises ValueError where rows are missing.
        """
        try:
            for run in self._runs.values():
                for row in skipped:
                    begin, end = run.offsets[row - self._shard.start : row - self._shard.start + 2]
                    self._spread(
                        run, int(begin), np.full((int(end - begin), run.column.width), np.nan, run.column.dtype)
                    )
                if run.left.any():
                    raise ValueError(f"a shard is written whole: {run.column.path} lacks {run.left.sum()} tokens")
            return {
                layer: (run.column.dtype, tuple(self._written[layer, chunk].result() for chunk in range(len(run.left))))
                for layer, run in self._runs.items()
            }
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Stop writing; what was written has no marker and counts for nothing."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    @cached_property
    def _ids(self) -> np.ndarray:
        return read_ids(self._files.files, self._files.prefix)

    def _run(self, column: TokenColumn, index: int) -> _Run:
        layout = self._files.layout(column)
        offsets, size = layout.offsets(self._shard), column.chunk_tokens
        left = np.diff(np.minimum(np.arange(layout.first[index + 1] - layout.first[index] + 1) * size, offsets[-1]))
        return _Run(column, layout.first[index], offsets, left)

    def _spread(self, run: _Run, place: int, values: np.ndarray) -> None:
        """Put consecutive tokens into their chunks."""
        size, width = run.column.chunk_tokens, run.column.width
        while len(values):
            chunk, inside = divmod(place, size)
            part = values[: size - inside]
            if chunk not in run.buffers:
                run.buffers[chunk] = np.full((size, width), np.nan, dtype=run.column.dtype)
            run.buffers[chunk][inside : inside + len(part)] = part
            run.left[chunk] -= len(part)
            if run.left[chunk] == 0:
                self._write(run, chunk)
            place, values = place + len(part), values[len(part) :]

    def _write(self, run: _Run, chunk: int) -> None:
        waiting = [future for future in self._written.values() if not future.done()]
        if len(waiting) >= WRITERS:
            waiting[0].result()
        self._written[run.column.name, chunk] = self._pool.submit(
            write_chunk,
            self._files.files,
            self._files.chunk_key(run.column, run.first + chunk),
            run.buffers.pop(chunk),
            rows=run.column.chunk_tokens,
            level=self._files.manifest.zstd_level,
        )
