"""The vectors of one column of a shard while it is encoded: put into their chunks, which are written as they become
whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future

import numpy as np

from structure.store.cast import cast_to_stored
from structure.store.column_layout import ColumnLayout
from structure.store.errors import StructureError
from structure.store.shard_ranges import Shard

Write = Callable[[int, np.ndarray], Future[str]]
Numbers = Sequence[int] | np.ndarray


class ColumnWriter:
    """One column of one shard on its way to the disk: a chunk is written as soon as it has all of its vectors.

    Rows may come in any order, each once. Tokens of rows that come in order, as images do, keep one chunk in memory,
    besides those that are being written. `sample(row)` names a row of the feature set `key`; `write(chunk, values)`
    begins to write the chunk of that number, and its future gives the CRC-32C as hex when it is durable.
    """

    def __init__(
        self, key: str, layout: ColumnLayout, shard: Shard, *, write: Write, sample: Callable[[int], str]
    ) -> None:
        index = shard.start // layout.shard_rows
        self._key, self._layout, self._shard, self._write, self._sample = key, layout, shard, write, sample
        self._first, count = layout.first[index], layout.first[index + 1] - layout.first[index]
        self._offsets = layout.offsets(shard.start, shard.stop)
        self._lengths = np.diff(self._offsets)
        edges = np.minimum(np.arange(count + 1) * layout.chunk_vectors, self._offsets[-1])
        self._lacking = np.diff(edges)  # vectors that each chunk lacks
        self._has = np.zeros(len(self._lengths), dtype=bool)
        self._chunks: dict[int, np.ndarray] = {}
        self._written: dict[int, Future[str]] = {}

    def put(self, rows: Numbers, values: np.ndarray, lengths: Numbers | None = None) -> None:
        """Take `values` (vectors, width) of any float dtype: the vectors of `rows` of the feature set one after
        another, `lengths` each (those that were planned, one each in a pooled layer, where not given). They must not
        change before the commit.

        Raises StructureError for a row with other than the planned tokens, a NaN or an infinity; Float16OverflowError
        for a value beyond float16; ValueError for a row that is not lacking, or another shape.
        """
        column, key = self._layout.column, self._key
        places = np.asarray(rows, dtype=np.int64) - self._shard.start
        planned = self._lengths[places]
        counts = planned if lengths is None else np.asarray(lengths)
        for other in () if lengths is None else np.flatnonzero(planned != counts)[:1]:
            raise StructureError(
                f"{key}: row {rows[other]} has {counts[other]} tokens now and {planned[other]} were planned in layer "
                f"{column.name}. Nothing of {self._shard} was saved. Is it the same tokenizer?"
            )
        wanted = (len(places) if column.is_pooled else int(planned.sum()), column.width)
        if values.shape != wanted or self._has[places].any():
            raise ValueError(
                f"{key}, {column.path}: a shard is written whole, each row once, {wanted} "
                f"for {len(rows)} rows, not {values.shape}"
            )

        def sample(vector: int) -> str:
            ends = np.cumsum(planned)
            which = int(np.searchsorted(ends, vector, side="right"))
            named = self._sample(int(rows[which]))
            return named if column.is_pooled else f"{named}, token {vector - int(ends[which] - planned[which])}"

        stored = cast_to_stored(values, column.dtype, key=key, column=column.path, what=self._shard, sample=sample)
        self._has[places] = True
        self._spread(places, stored)

    def commit(self, skipped: Collection[int] = ()) -> tuple[str, tuple[str, ...]]:
        """Wait until every chunk is durable; (dtype, CRC-32C of each chunk) for the completion marker. `skipped` rows
        become NaN. Raises ValueError where rows are missing."""
        column, places = self._layout.column, np.array(sorted(skipped), dtype=np.int64) - self._shard.start
        missing = np.flatnonzero(~self._has)
        if not np.array_equal(missing, places):
            raise ValueError(
                f"a shard is written whole: {column.path} lacks {len(missing)} rows of {self._shard}, and "
                f"{len(places)} are skipped"
            )
        self._spread(missing, np.full((self._lengths[missing].sum(), column.width), np.nan, column.dtype))
        self._has[missing] = True
        return column.dtype, tuple(self._written[chunk].result() for chunk in range(len(self._lacking)))

    def _spread(self, places: np.ndarray, values: np.ndarray) -> None:
        """Put the vectors of these rows of the shard into their chunks."""
        if not len(places):
            return
        if (places[1:] - places[:-1] == 1).all():  # rows that follow one another, as images do
            self._place(int(self._offsets[places[0]]), values)
            return
        size = self._layout.chunk_vectors
        if self._layout.column.is_pooled:  # one chunk, one vector a row
            self._chunk(0)[places] = values
            self._count(0, len(places))
            return
        begins, lengths = self._offsets[places], self._lengths[places]
        taken = np.cumsum(lengths) - lengths
        vectors = np.repeat(begins - taken, lengths) + np.arange(len(values))
        for chunk in np.unique(vectors // size).tolist():
            here = vectors // size == chunk
            whole = bool(here.all())
            self._chunk(chunk)[(vectors if whole else vectors[here]) - chunk * size] = values if whole else values[here]
            self._count(chunk, int(here.sum()))

    def _place(self, begin: int, values: np.ndarray) -> None:
        """Put consecutive vectors into their chunks."""
        size = self._layout.chunk_vectors
        while len(values):
            chunk, inside = divmod(begin, size)
            part = values[: size - inside]
            whole = chunk not in self._chunks and len(part) == self._lacking[chunk]
            if whole and (len(part) == size or self._layout.column.is_pooled):
                self._chunks[chunk] = part  # not copied
            else:
                self._chunk(chunk)[inside : inside + len(part)] = part
            self._count(chunk, len(part))
            begin, values = begin + len(part), values[len(part) :]

    def _chunk(self, chunk: int) -> np.ndarray:
        """The chunk in memory, without values yet: what stays beyond a run is zero in a pooled layer, NaN in tokens."""
        column = self._layout.column
        if chunk not in self._chunks:
            shape = (self._layout.chunk_vectors, column.width)
            self._chunks[chunk] = np.full(shape, 0 if column.is_pooled else np.nan, dtype=column.dtype)
        return self._chunks[chunk]

    def _count(self, chunk: int, vectors: int) -> None:
        """Note that the chunk got vectors; write it where it lacks none."""
        self._lacking[chunk] -= vectors
        if self._lacking[chunk] == 0:
            self._written[chunk] = self._write(self._first + chunk, self._chunks.pop(chunk))
