"""Seeded, shuffled batches of aligned rows of several feature sets: in bounded memory, or from memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from structure.store.chunk import PAGE, page_aligned
from structure.store.errors import StructureError
from structure.store.row_sources import RowSource
from structure.store.shuffle_plan import ShufflePlan, Window, block_edges
from structure.store.tokens import Tokens

POOL_BYTES = 128 * 2**20
"""What a window holds: the rows of a batch come from this many bytes of blocks that lie anywhere in the sets."""

BLOCKS = 8
"""Blocks in a window at least, where chunks are so large that fewer would fit."""

THREADS = 4

Values = np.ndarray | Tokens


class Shuffled:
    """Batches of aligned rows: row i of every source belongs together.

    Blocks of rows are read in a drawn order into a window of `pool` bytes, and batches take the window's rows in a
    drawn order, while `threads` threads read the next window (at the end of an epoch, the first one of the next). If
    all rows fit `memory` bytes (None: they do), they are read once and stay. The batches are the same either way. A
    `plan` sets blocks and pool; by default blocks are whole chunks. A chunk is checked when it is read for the first
    time. Raises StructureError where the rows fit `memory` neither whole nor in windows, ValueError for sources that
    do not have as many rows, or rows that do not ascend.
    """

    def __init__(
        self,
        sources: Sequence[RowSource],
        *,
        batch: int,
        memory: int | None = None,
        pool: int = POOL_BYTES,
        plan: ShufflePlan | None = None,
        threads: int = THREADS,
    ) -> None:
        counts = sorted({len(source.rows) for source in sources})
        if len(counts) != 1 or batch < 1:
            raise ValueError(f"sources of {counts} rows do not pair, or batches of {batch} rows")
        self.rows, self.batch = counts[0], batch
        edges = block_edges(sources[0].rows, _block_rows(sources, pool)) if plan is None else plan.edges
        self._columns = [_Column(source, edges) for source in sources]
        self._block_of = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
        weights = tuple(sum(column.bytes_of(block) for column in self._columns) for block in range(len(edges) - 1))
        self.plan = ShufflePlan(edges, weights, pool) if plan is None else plan
        whole, window = sum(weights), _largest_window(self.plan, weights)
        # Beside them: the batch that the caller holds, and the next one, which may come from two windows.
        beside = -(-3 * whole * min(batch, self.rows) // self.rows)
        self.in_memory = memory is None or whole + beside <= memory
        if memory is not None and not self.in_memory and 2 * window + beside > memory:
            raise StructureError(
                f"Shuffled reading of {self.rows:,} rows needs {2 * window + beside:,} bytes (two windows of "
                f"blocks and three batches of {batch:,}), or {whole + beside:,} to keep all; {memory:,} are allowed. "
                "Raise --memory, or take a smaller batch."
            )
        self._bytes, self._threads = whole if self.in_memory else window, threads
        self._resident: _Arena | None = None
        self._free: list[_Arena] = []  # memory that was written to once is read into faster
        self._reader = ThreadPoolExecutor(1)
        self._ahead: tuple[tuple[int, int], _Coming] | None = None  # (seed, epoch) and its first window

    def epoch(self, seed: int, epoch: int = 0) -> Iterator[tuple[np.ndarray, tuple[Values, ...]]]:
        """Every row once: `(rows, batches)`, the (n,) int64 numbers of the rows in the sources, and a batch of every
        source in newly made memory; n is `batch` but for the last. Raises as reading the sources does."""
        parts: list[tuple[np.ndarray, list[np.ndarray]]] = []
        wanted = min(self.batch, self.rows)
        for window, arena in self._windows(seed, epoch):
            rows = self.plan.rows_of(window)
            while len(rows):
                here, rows = rows[:wanted], rows[wanted:]
                parts.append((here, arena.take(here, self._block_of)))
                wanted -= len(here)
                if not wanted:
                    yield self._batch(parts)
                    parts, wanted = [], self.batch
        if parts:
            yield self._batch(parts)

    def _batch(self, parts: list[tuple[np.ndarray, list[np.ndarray]]]) -> tuple[np.ndarray, tuple[Values, ...]]:
        rows, taken = parts[0]
        if len(parts) > 1:  # it ends one window and begins the next
            rows = np.concatenate([here for here, _ in parts])
            taken = [np.concatenate(units) for units in zip(*(part for _, part in parts), strict=True)]
        return rows, tuple(
            column.source.batch(units, column.lengths[rows]) for column, units in zip(self._columns, taken, strict=True)
        )

    def _windows(self, seed: int, epoch: int) -> Iterator[tuple[Window, _Arena]]:
        """The epoch's windows with their rows in memory; the next one is read meanwhile."""
        if self.in_memory:
            if self._resident is None:
                arena = self._arena()
                arena.load(range(len(self.plan.weights)))
                self._resident = arena
            for window in self.plan.windows(seed, epoch):
                yield window, self._resident
            return
        coming = [self._first(seed, epoch)]
        try:
            for window in islice(self.plan.windows(seed, epoch), 1, None):
                coming.append(self._begin(window))
                yield coming[0].loaded()
                self._free.append(coming.pop(0).arena)
            following = seed, epoch + 1
            self._ahead = following, self._begin(next(self.plan.windows(*following)))
            yield coming[0].loaded()
        finally:
            for each in coming:
                self._give_back(each)

    def _first(self, seed: int, epoch: int) -> _Coming:
        """The epoch's first window, which may be on its way since the end of the last epoch."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == (seed, epoch):
            return ahead[1]
        if ahead is not None:
            self._give_back(ahead[1])
        return self._begin(next(self.plan.windows(seed, epoch)))

    def _begin(self, window: Window) -> _Coming:
        arena = self._free.pop() if self._free else self._arena()
        return _Coming(window, arena, self._reader.submit(arena.load, window.blocks))

    def _give_back(self, coming: _Coming) -> None:
        wait([coming.reading])
        self._free.append(coming.arena)

    def _arena(self) -> _Arena:
        return _Arena(self._columns, self._bytes, self._threads)


class _Column:
    """One source cut into blocks: `begins` and `lengths` (rows,) say where each row lies in its block, in units."""

    def __init__(self, source: RowSource, edges: Sequence[int]) -> None:
        self.source = source
        self.blocks = [source.places(first, last) for first, last in pairwise(edges)]
        self.begins = np.concatenate([block.begins for block in self.blocks])
        self.lengths = np.concatenate([block.lengths for block in self.blocks])

    def bytes_of(self, block: int) -> int:
        """Bytes of one block."""
        return self.blocks[block].units * self.source.unit_bytes


@dataclass(frozen=True)
class _Coming:
    """A window that is being read into an arena."""

    window: Window
    arena: _Arena
    reading: Future[None]

    def loaded(self) -> tuple[Window, _Arena]:
        """When it has been read. Raises what reading raised."""
        self.reading.result()
        return self.window, self.arena


class _Arena:
    """Memory for the blocks of one window: `values` (units, width) of every column, block after block."""

    def __init__(self, columns: Sequence[_Column], size: int, threads: int) -> None:
        self.columns, self.threads = columns, threads
        self.space = page_aligned((size + PAGE * len(columns),), "uint8")
        self.values: list[np.ndarray] = []
        self.bases = [np.zeros(len(column.blocks), dtype=np.int64) for column in columns]

    def load(self, blocks: Sequence[int]) -> None:
        """Read these blocks of all columns over whatever was there."""
        self.values, begin = [], 0
        jobs = []
        for column, base in zip(self.columns, self.bases, strict=True):
            units = [column.blocks[block].units for block in blocks]
            ends = np.cumsum(units)
            size = int(ends[-1]) * column.source.unit_bytes
            flat = self.space[begin : begin + size].view(column.source.dtype)
            values = flat.reshape(-1, column.source.width)
            base[list(blocks)] = ends - units
            for block, end, count in zip(blocks, ends.tolist(), units, strict=True):
                jobs.append((column.source, column.blocks[block], values[end - count : end]))
            self.values.append(values)
            begin += -(-size // PAGE) * PAGE
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(lambda job: job[0].read(job[1], job[2]), jobs))

    def take(self, rows: np.ndarray, block_of: np.ndarray) -> list[np.ndarray]:
        """Copies of the units of these rows, row after row, for every column."""
        taken = []
        blocks = block_of[rows]
        for column, base, values in zip(self.columns, self.bases, self.values, strict=True):
            begins, lengths = base[blocks] + column.begins[rows], column.lengths[rows]
            ends = np.cumsum(lengths)
            index = np.repeat(begins - (ends - lengths), lengths) + np.arange(ends[-1])
            out = page_aligned((len(index), values.shape[1]), values.dtype)
            taken.append(np.take(values, index, axis=0, out=out, mode="clip"))  # "clip": without a buffer in between
        return taken


def _largest_window(plan: ShufflePlan, weights: Sequence[int]) -> int:
    """Bytes that any window may take: `weights` are those of the blocks as they are read."""
    if tuple(weights) == plan.weights:
        return max(min(plan.pool, sum(weights)), *weights)
    most = np.searchsorted(np.cumsum(sorted(plan.weights)), plan.pool, side="right")  # blocks that a window may have
    return sum(sorted(weights)[-max(1, int(most)) :])


def _block_rows(sources: Sequence[RowSource], pool: int) -> int:
    """Rows of a block: the largest chunk, but so that a window holds `BLOCKS` of them; a power of two."""
    row_bytes = sum(source.places(0, len(source.rows)).units * source.unit_bytes for source in sources)
    row_bytes = -(-row_bytes // len(sources[0].rows))
    most = min(max(source.chunk_rows for source in sources), pool // (BLOCKS * row_bytes))
    return 1 << max(0, most.bit_length() - 1)
