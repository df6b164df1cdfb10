"""The shards of a feature set that one extractor takes: leased one after another, as it comes to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from structure.store.feature_set import FeatureSet
from structure.store.lease import HeldError
from structure.store.shard import Shard
from structure.store.shard_writer import ShardWriter, lease_of


class ShardQueue:
    """Of `shards`, those that nobody else writes and that are not done when their turn comes: extractors that go
    through the same feature set at once share its shards, and none is encoded twice.

    `held` are those that were left to somebody else, `done` counts the rows that somebody else had finished. Leaving
    the context gives back every lease that is still held, wherever an interruption fell.
    """

    def __init__(self, features: FeatureSet, shards: Iterable[Shard]) -> None:
        self.features, self.shards = features, shards
        self.held: dict[Shard, HeldError] = {}
        self.done = 0
        self._writers: dict[Shard, ShardWriter] = {}

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
        """The writer of a shard that came, which holds its lease; who has committed it releases it."""
        return self._writers[shard]

    def __enter__(self) -> ShardQueue:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers.values():
            writer.release()


def any_free(features: FeatureSet, held: Collection[Shard]) -> bool:
    """Whether a shard that was held by somebody else is free now.

    Waits where it cannot be told otherwise whether a holder on another machine is alive: until he renews his lease, or
    it ends.
    """
    if not held:
        return False
    with ThreadPoolExecutor(len(held)) as pool:  # each waits, mostly
        return any(list(pool.map(lambda shard: lease_of(features, shard).wait_released(), held)))
