"""The columns of a sample index in a Parquet file, each read when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from structure.store.errors import DamageError

BATCH_ROWS = 1 << 12
"""Rows that a pass over columns has in memory at a time."""


class SampleColumns:
    """Columns by name of the Parquet file whose bytes `data` are; `key` names it in messages. A column that was asked
    for whole is kept.

    Making it raises ValueError, OSError or pa.ArrowException for bytes that are no Parquet; reading raises DamageError.
    """

    def __init__(self, data: bytes, *, key: str) -> None:
        self._key = key
        # Without pyarrow's threads: where a process ends while they start (a message, exit code 1), they abort it.
        # As one file: `read_table` imports pyarrow's datasets and pandas, for which every command would wait.
        self._file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(data)), page_checksum_verification=True)
        self._kept: dict[str, pa.ChunkedArray] = {}
        self.schema: pa.Schema = self._file.schema_arrow

    def __len__(self) -> int:
        """Number of rows."""
        return int(self._file.metadata.num_rows)

    @property
    def column_names(self) -> list[str]:
        return list(self.schema.names)

    def column(self, name: str) -> pa.ChunkedArray:
        """One column. Raises KeyError."""
        if name not in self.schema.names:
            raise KeyError(name)
        if name not in self._kept:
            with _reading(self._key):
                self._kept[name] = self._file.read(columns=[name], use_threads=False)[name]
        return self._kept[name]

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Some columns in parts of at most `BATCH_ROWS` rows, none of which is kept."""
        with _reading(self._key):
            yield from self._file.iter_batches(BATCH_ROWS, columns=list(names), use_threads=False)
        pa.default_memory_pool().release_unused()  # or Arrow would keep what it unpacked into

    def table(self) -> pa.Table:
        """All columns at once."""
        with _reading(self._key):
            return self._file.read(use_threads=False).replace_schema_metadata(None)


@contextmanager
def _reading(key: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamageError(f"{key} does not read: {error}.") from None
