"""The completion markers of one feature set, and what they leave to do."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from structure.store.completion_marker import CompletionMarker
from structure.store.files import Files
from structure.store.manifest import Manifest
from structure.store.shard import Shard


class CompletionMarkers:
    """The markers below `done/` of one feature set; a shard that has none is pending."""

    def __init__(self, files: Files, prefix: str, manifest: Manifest) -> None:
        self.files, self.prefix, self.manifest = files, prefix, manifest
        self._whole: Mapping[int, CompletionMarker] | None = None

    def key(self, index: int) -> str:
        """The file of one shard's marker."""
        return f"{self.prefix}/done/{index:06d}.json"

    def read(self, index: int) -> CompletionMarker | None:
        """The marker of one shard, None where there is none. Raises DamageError for one that does not read."""
        key = self.key(index)
        with suppress(FileNotFoundError):
            return CompletionMarker.from_json(self.files.read(key), source=key)
        return None

    def all(self) -> dict[int, CompletionMarker]:
        """The markers by shard index. Raises DamageError for one that does not read."""
        found: dict[int, CompletionMarker] = {}
        for key in self.files.keys(f"{self.prefix}/done"):
            index = int(key.rpartition("/")[2].removesuffix(".json"))
            found[index] = CompletionMarker.from_json(self.files.read(key), source=key)
        return found

    def known(self) -> Mapping[int, CompletionMarker]:
        """The markers, read once when nothing is pending: a repair writes the same bytes, and those are checked."""
        if self._whole is None:
            markers = self.all()
            if self.pending(markers):
                return markers
            self._whole = markers
        return self._whole

    def write(self, index: int, marker: CompletionMarker) -> None:
        """Write a marker."""
        self.files.write(self.key(index), marker.to_json())

    def remove(self, index: int) -> None:
        """Make a shard pending again, all of it."""
        self.files.remove(self.key(index))

    def lacking(self, marker: CompletionMarker | None) -> tuple[str, ...]:
        """Paths of the columns that a shard with this marker lacks."""
        done = {} if marker is None else {path: dtype for path, (dtype, _) in marker.columns.items()}
        return tuple(path for path, column in self.manifest.by_path.items() if done.get(path) != column.dtype)

    def pending(self, markers: Mapping[int, CompletionMarker]) -> dict[Shard, tuple[str, ...]]:
        """What is still to do: shard -> the columns that it lacks."""
        lacking = {shard: self.lacking(markers.get(index)) for index, shard in enumerate(self.manifest.shards)}
        return {shard: names for shard, names in lacking.items() if names}
