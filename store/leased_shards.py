"""The shards of a feature set that one extractor takes: leased one after another, and committed in the background."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from structure.store.feature_set import FeatureSet
from structure.store.lease import HeldError
from structure.store.shard_ranges import Shard
from structure.store.shard_writer import ShardWriter, lease_of


class LeasedShards:
    """Of `shards`, those that nobody else writes and that are not done when their turn comes: extractors that go
    through the same feature set at once share its shards, and none is encoded twice.

    `held` are those that were left to somebody else, `done` counts the rows that somebody else had finished. Leaving
    the context commits what was handed over, also after an exception (a shard that has been encoded is not thrown
    away), and releases every shard, wherever an interruption fell.
    """

    def __init__(self, features: FeatureSet, shards: Iterable[Shard]) -> None:
        self.features, self.shards = features, shards
        self.held: dict[Shard, HeldError] = {}
        self.done = 0
        self._writers: dict[Shard, ShardWriter] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"commits of {features.key}")
        self._commits: list[Future[None]] = []

    def __iter__(self) -> Iterator[Shard]:
        for shard in self.shards:
            writer = self._writers[shard] = ShardWriter(self.features, shard)
            try:
                writer.acquire()
            except HeldError as error:
                self.held[shard] = error
                continue
            if writer.lacking:
                yield shard
            else:
                self.done += len(shard)
                writer.release()

    def writer_of(self, shard: Shard) -> ShardWriter:
        """The writer of a shard that came, which holds its lease."""
        return self._writers[shard]

    def commit(self, shard: Shard) -> None:
        """Commit a shard that has all its rows while the encoder goes on; at most two wait, the next one blocks.

        Raises what an earlier commit raised; so does leaving the context.
        """
        while len(self._commits) > 1 or (self._commits and self._commits[0].done()):
            self._commits.pop(0).result()
        self._commits.append(self._thread.submit(self._commit, self._writers[shard]))

    def _commit(self, writer: ShardWriter) -> None:
        try:
            writer.commit()
        finally:
            writer.release()

    def __enter__(self) -> LeasedShards:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        for writer in self._writers.values():
            writer.release()
        for commit in self._commits if error is None else ():
            commit.result()


def any_free(features: FeatureSet, held: Collection[Shard]) -> bool:
    """Whether a shard that was held by somebody else is free now.

    Waits where it cannot be told otherwise whether a holder on another machine is alive: until he renews his lease, or
    it ends.
    """
    if not held:
        return False
    with ThreadPoolExecutor(len(held)) as pool:  # each waits, mostly
        return any(list(pool.map(lambda shard: lease_of(features, shard).wait_released(), held)))
