"""Seeded, shuffled batches of aligned rows of several feature sets: in bounded memory, or from memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

from structure.store.chunk import PAGE, page_aligned
from structure.store.errors import StructureError
from structure.store.lazy_rows import Rows, Values
from structure.store.shuffle_plan import ShufflePlan, Window, begins_of, block_edges

POOL_BYTES = 128 * 2**20
"""What a window holds: the rows of a batch come from this many bytes of blocks that lie anywhere in the sets."""

BLOCKS = 8
"""Blocks in a window at least, where chunks are so large that fewer would fit."""


class Shuffled:
    """Batches of aligned rows: row i of every source belongs together.

    Blocks of rows come in a drawn order into a window of `pool` bytes, and batches take the window's rows in a drawn
    order, while `threads` threads read the next window (at the end of an epoch, the first one of the next). If all
    rows fit `memory` bytes (None: they do), they are read once and stay. Layers that lie uncompressed in a folder of
    this machine are not read but looked at in the page cache. The batches are the same in every case. A `plan` sets
    blocks and pool; by default blocks are whole chunks. A chunk is checked when it is met for the first time. Raises
    StructureError where the rows fit `memory` neither whole nor in windows, ValueError for sources that do not have as
    many rows, or rows that do not ascend.
    """

    def __init__(
        self,
        sources: Sequence[Rows],
        *,
        batch: int,
        memory: int | None = None,
        pool: int = POOL_BYTES,
        plan: ShufflePlan | None = None,
        threads: int | None = None,
    ) -> None:
        counts = sorted({len(source) for source in sources})
        if len(counts) != 1 or batch < 1:
            raise ValueError(f"sources of {counts} rows do not pair, or batches of {batch} rows")
        for source in sources:
            if not len(source) or (np.diff(source.numbers) < 0).any():
                raise ValueError(f"{source.features.key}, {source.path}: ascending rows are needed, at least one")
        self.rows, self.batch = counts[0], batch
        edges = block_edges(sources[0].numbers, _block_rows(sources, pool)) if plan is None else plan.edges
        self._columns = [_Blocks(source, edges) for source in sources]
        self._block_of = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
        weights = _weights(self._columns, len(edges) - 1)
        self.plan = ShufflePlan(edges, weights, pool) if plan is None else plan
        whole, window = sum(weights), _largest_window(self.plan, weights)
        beside = -(-2 * whole * min(batch, self.rows) // self.rows)  # the batch that the caller holds, and the next one
        self.in_memory = memory is None or whole + beside <= memory
        if memory is not None and not self.in_memory and 2 * window + beside > memory:
            raise StructureError(
                f"Shuffled reading of {self.rows:,} rows needs {2 * window + beside:,} bytes (two windows of "
                f"blocks and two batches of {batch:,}), or {whole + beside:,} to keep all; {memory:,} are allowed. "
                "Raise --memory, or take a smaller batch."
            )
        copied = _weights([column for column in self._columns if not column.in_place], len(edges) - 1)
        self._bytes = sum(copied) if self.in_memory else _largest_window(self.plan, copied)
        self._threads = threads or max(source.features.files.readers for source in sources)
        self._resident: _Arena | None = None
        self._free: list[_Arena] = []  # memory that was written to once is read into faster
        self._reader = ThreadPoolExecutor(1)
        self._ahead: tuple[tuple[int, int], _Coming] | None = None  # (seed, epoch) and its first window

    def epoch(self, seed: int, epoch: int = 0) -> Iterator[tuple[np.ndarray, tuple[Values, ...]]]:
        """Every row once: `(rows, batches)`, the (n,) int64 numbers of the rows in the sources, and a batch of every
        source in newly made memory; n is `batch` but for the last. Raises as reading the sources does."""
        windows = list(self.plan.windows(seed, epoch))
        order, begins = self.plan.order_of(windows, batch=self.batch), begins_of(windows)
        with closing(self._arenas(windows, seed, epoch)) as arenas:
            for start in range(0, self.rows, self.batch):
                rows = order[start : start + self.batch]
                cuts = [0, *(begin - start for begin in begins if 0 < begin - start < len(rows)), len(rows)]
                offsets = [column.offsets(rows) for column in self._columns]
                vectors = [column.space(int(each[-1])) for column, each in zip(self._columns, offsets, strict=True)]
                for low, high in pairwise(cuts):
                    if start + low in begins:
                        arena = next(arenas)
                    into = [space[each[low] : each[high]] for space, each in zip(vectors, offsets, strict=True)]
                    arena.take(rows[low:high], self._block_of, into)
                yield (
                    rows,
                    tuple(
                        column.rows.values(space, each)
                        for column, space, each in zip(self._columns, vectors, offsets, strict=True)
                    ),
                )

    def _arenas(self, windows: Sequence[Window], seed: int, epoch: int) -> Generator[_Arena]:
        """The epoch's windows, one after the other, in memory; the next one is read meanwhile."""
        if self.in_memory:
            if self._resident is None:
                arena = self._arena()
                arena.load(range(len(self.plan.weights)))
                self._resident = arena
            yield from [self._resident] * len(windows)
            return
        coming = [self._first(windows[0], (seed, epoch))]
        try:
            for window in windows[1:]:
                coming.append(self._begin(window))
                yield coming[0].loaded()
                self._free.append(coming.pop(0).arena)
            following = seed, epoch + 1
            self._ahead = following, self._begin(next(self.plan.windows(*following)))
            yield coming[0].loaded()
        finally:
            for each in coming:
                self._give_back(each)

    def _first(self, window: Window, wanted: tuple[int, int]) -> _Coming:
        """The epoch's first window, which may be on its way since the end of the last epoch."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == wanted:
            return ahead[1]
        if ahead is not None:
            self._give_back(ahead[1])
        return self._begin(window)

    def _begin(self, window: Window) -> _Coming:
        arena = self._free.pop() if self._free else self._arena()
        return _Coming(arena, self._reader.submit(arena.load, window.blocks))

    def _give_back(self, coming: _Coming) -> None:
        wait([coming.reading])
        self._free.append(coming.arena)

    def _arena(self) -> _Arena:
        return _Arena(self._columns, self._bytes, self._threads)


@dataclass(frozen=True, eq=False)
class _Block:
    """Rows `[start, stop)` of a feature set, `vectors` in all."""

    start: int
    stop: int
    vectors: int


class _Blocks:
    """Rows cut into blocks: `begins` and `lengths` (rows,) say where each row lies in its block, in vectors. A chunk is
    checked when it is read for the first time."""

    def __init__(self, rows: Rows, edges: Sequence[int]) -> None:
        self.rows, self.files = rows, rows.features.column_reader(rows.path)
        self.lengths = rows.lengths(rows.numbers)
        self.pooled = rows.column.is_pooled
        self.blocks, begins = [], []
        for low, high in pairwise(edges):
            numbers = rows.numbers[low:high]
            start, stop = int(numbers[0]), int(numbers[-1]) + 1
            offsets = self.files.layout.offsets(start, stop)
            self.blocks.append(_Block(start, stop, int(offsets[-1])))
            begins.append(offsets[numbers - start])
        self.begins = np.concatenate(begins)
        self._checked: set[str] = set()

    @property
    def in_place(self) -> bool:
        """Whether vectors are looked at where they lie and take no memory."""
        return self.files.in_place

    def read_vectors(self, block: _Block) -> int:
        """How many of a block's vectors are read into memory."""
        return 0 if self.in_place else block.vectors

    def pieces(self, block: _Block, space: np.ndarray) -> list[np.ndarray]:
        """The vectors in pieces (n, width), one behind the other: `space` (vectors, width), which they are read into,
        or, `in_place`, where they lie."""
        markers = self.rows.features.completion.known()
        if self.in_place:
            return self.files.view(block.start, block.stop, markers, self._checked)
        self.files.read(block.start, block.stop, space, markers, self._checked)
        return [space]

    def offsets(self, rows: np.ndarray) -> np.ndarray:
        """(n + 1,): where the vectors of each of these rows begin, put behind one another, and where they end."""
        if self.pooled:
            return np.arange(len(rows) + 1)
        return np.concatenate([[0], np.cumsum(self.lengths[rows])])

    def vectors_of(self, rows: np.ndarray, begins: np.ndarray) -> np.ndarray:
        """The numbers of the vectors of these rows, whose blocks begin at `begins`."""
        first: np.ndarray = begins + self.begins[rows]
        if self.pooled:
            return first
        offsets = self.offsets(rows)
        return np.repeat(first - offsets[:-1], np.diff(offsets)) + np.arange(offsets[-1])

    def space(self, vectors: int) -> np.ndarray:
        """New memory (vectors, width)."""
        return page_aligned((vectors, self.rows.width), self.rows.dtype)


@dataclass(frozen=True)
class _Coming:
    """A window that is being read into an arena."""

    arena: _Arena
    reading: Future[None]

    def loaded(self) -> _Arena:
        """When it has been read. Raises what reading raised."""
        self.reading.result()
        return self.arena


class _Arena:
    """The blocks of one window, in ascending order: read into memory of its own, or looked at where they lie."""

    def __init__(self, columns: Sequence[_Blocks], size: int, threads: int) -> None:
        self.columns, self.threads = columns, threads
        self.space = page_aligned((size + PAGE * len(columns),), "uint8")
        self.bases = [np.zeros(len(column.blocks), dtype=np.int64) for column in columns]
        self.pieces: list[list[np.ndarray]] = [[] for _ in columns]

    def load(self, blocks: Sequence[int]) -> None:
        """Hold these blocks of all columns instead of whatever was there."""
        blocks, begin = sorted(blocks), 0
        self.pieces = [[] for _ in self.columns]
        with ThreadPoolExecutor(self.threads) as pool:
            coming = []
            for column, base in zip(self.columns, self.bases, strict=True):
                rows, places = column.rows, [column.blocks[block] for block in blocks]
                base[blocks] = np.cumsum([0, *(each.vectors for each in places[:-1])])
                ends = np.cumsum([column.read_vectors(each) for each in places])
                size = int(ends[-1]) * rows.column.vector_bytes
                space = self.space[begin : begin + size].view(rows.dtype).reshape(-1, rows.width)
                coming.append(pool.map(column.pieces, places, np.split(space, ends[:-1])))
                begin += -(-size // PAGE) * PAGE
            self.pieces = [list(chain.from_iterable(pieces)) for pieces in coming]

    def take(self, rows: np.ndarray, block_of: np.ndarray, into: Sequence[np.ndarray]) -> None:
        """Copy the vectors of these ascending rows, row after row, for every column."""
        blocks = block_of[rows]
        for column, base, pieces, out in zip(self.columns, self.bases, self.pieces, into, strict=True):
            index = column.vectors_of(rows, base[blocks])
            starts = np.cumsum([0, *map(len, pieces)])
            cuts = pairwise(np.searchsorted(index, starts))
            for piece, start, (low, high) in zip(pieces, starts[:-1], cuts, strict=True):
                if low < high:  # "clip": without a buffer in between
                    np.take(piece, index[low:high] - start, axis=0, out=out[low:high], mode="clip")


def _weights(columns: Sequence[_Blocks], blocks: int) -> tuple[int, ...]:
    """Bytes of each block, all columns together."""
    return tuple(sum(c.blocks[block].vectors * c.rows.column.vector_bytes for c in columns) for block in range(blocks))


def _largest_window(plan: ShufflePlan, weights: Sequence[int]) -> int:
    """Bytes that any window may take: `weights` are those of the blocks as they are read."""
    if tuple(weights) == plan.weights:
        return max(min(plan.pool, sum(weights)), *weights)
    most = np.searchsorted(np.cumsum(sorted(plan.weights)), plan.pool, side="right")  # blocks that a window may have
    return sum(sorted(weights)[-max(1, int(most)) :])


def _block_rows(sources: Sequence[Rows], pool: int) -> int:
    """Rows of a block: the largest chunk, but so that a window holds `BLOCKS` of them; a power of two."""
    sizes = [_range_vectors(rows) * rows.column.vector_bytes for rows in sources]
    row_bytes = -(-sum(sizes) // len(sources[0]))
    most = min(max(_chunk_rows(rows) for rows in sources), pool // (BLOCKS * row_bytes))
    return 1 << max(0, most.bit_length() - 1)


def _range_vectors(rows: Rows) -> int:
    """Vectors from the first to the last of the rows."""
    layout = rows.features.layout(rows.path)
    return layout.count(int(rows.numbers[0]), int(rows.numbers[-1]) + 1)


def _chunk_rows(rows: Rows) -> int:
    """About how many rows one chunk on the disk holds."""
    if rows.column.is_pooled:
        return rows.features.manifest.shard_rows
    return max(1, len(rows.features) // rows.column.chunks)
