"""Threads that write chunks of a shard while others are filled."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

import numpy as np

from structure.store.chunk import write_chunk
from structure.store.files import Files

WRITERS = 8
"""Threads, waiting for the disk mostly."""

WAITING_BYTES = 64 * 2**20
"""Bytes of chunks that may wait to be written: who hands over more waits."""


class ChunkPool:
    """Writes chunks on threads, at most `WAITING_BYTES` of them at a time (one where a chunk has more)."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._threads = ThreadPoolExecutor(WRITERS)
        self._waiting: dict[Future[str], int] = {}
        self._lock = Lock()

    def write(self, key: str, values: np.ndarray, *, rows: int, level: int | None) -> Future[str]:
        """Begin to write a chunk; the future gives its CRC-32C as hex when it is durable. See `write_chunk`."""
        with self._lock:
            while (pending := self._still_waiting()) and sum(pending.values()) + values.nbytes > WAITING_BYTES:
                next(iter(pending)).exception()  # wait for it; whoever commits gets what it raised
            writing = self._threads.submit(write_chunk, self._files, key, values, rows=rows, level=level)
            self._waiting[writing] = values.nbytes
        return writing

    def close(self) -> None:
        """Stop: what has not begun is not written."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _still_waiting(self) -> dict[Future[str], int]:
        self._waiting = {future: size for future, size in self._waiting.items() if not future.done()}
        return self._waiting
