"""A background writer: the encoder goes on while finished shards reach the disk."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from structure.store.feature_set import FeatureSet
from structure.store.lease import Lease
from structure.store.shard import Shard
from structure.store.token_writer import TokenWriter


@dataclass(frozen=True)
class _Job:
    shard: Shard
    features: Mapping[str, np.ndarray]
    skipped: Mapping[int, str]
    lease: Lease
    tokens: TokenWriter | None


class Writer:
    """Fills shards of a feature set on one thread, in the order they come; holds at most two shards in memory.

    A fault while writing is raised by the next `submit`, or on leaving the context. Leaving writes what was
    submitted, also after an exception: a shard that has been encoded is not thrown away.
    """

    def __init__(self, features: FeatureSet) -> None:
        self.features = features
        self._jobs: queue.Queue[_Job | None] = queue.Queue(maxsize=1)
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"writer of {features.key}", daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def submit(
        self,
        shard: Shard,
        features: Mapping[str, np.ndarray],
        *,
        skipped: Mapping[int, str],
        lease: Lease,
        tokens: TokenWriter | None = None,
    ) -> None:
        """Hand over one encoded shard and the lease on it; the lease ends when the shard is durable."""
        if self._fault is not None:
            if tokens is not None:
                tokens.abandon()
            lease.release()
            raise self._fault
        self._jobs.put(_Job(shard, features, skipped, lease, tokens))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._jobs.put(None)
        self._thread.join()
        if self._fault is not None and error is None:
            raise self._fault

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if self._fault is None:
                    self.features.fill(job.shard, job.features, skipped=job.skipped, tokens=job.tokens)
            except BaseException as error:  # handed to the thread that submits
                self._fault = error
            finally:
                if job.tokens is not None:
                    job.tokens.abandon()
                job.lease.release()
