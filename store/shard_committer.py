"""Commits in the background: the encoder goes on while finished shards reach the disk."""

from __future__ import annotations

import queue
import threading
from types import TracebackType

from structure.store.shard_writer import ShardWriter


class ShardCommitter:
    """Commits shards on one thread, in the order they come, and releases them; holds at most two in memory.

    A fault is raised by the next `submit`, or on leaving the context. Leaving commits what was submitted, also after an
    exception: a shard that has been encoded is not thrown away.
    """

    def __init__(self, name: str) -> None:
        self._shards: queue.Queue[ShardWriter | None] = queue.Queue(maxsize=1)
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"committer of {name}", daemon=True)

    def __enter__(self) -> ShardCommitter:
        self._thread.start()
        return self

    def submit(self, shard: ShardWriter) -> None:
        """Hand over one shard that has all its rows."""
        if self._fault is not None:
            shard.release()
            raise self._fault
        self._shards.put(shard)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shards.put(None)
        self._thread.join()
        if self._fault is not None and error is None:
            raise self._fault

    def _run(self) -> None:
        while (shard := self._shards.get()) is not None:
            try:
                if self._fault is None:
                    shard.commit()
            except BaseException as error:  # handed to the thread that submits
                self._fault = error
            finally:
                shard.release()
