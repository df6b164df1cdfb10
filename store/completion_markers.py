"""Completion markers: written after the data of a shard are durable, they are what makes the shard exist."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from structure.store.chunk import crc32c
from structure.store.column_layout import tokens_path
from structure.store.errors import DamageError
from structure.store.files import Files
from structure.store.fingerprint import canonical
from structure.store.manifest import Manifest
from structure.store.shard_ranges import Shard


@dataclass(frozen=True)
class CompletionMarker:
    """Checksums of one shard: `columns` maps the path of a column to (dtype, the CRC-32C of each chunk, as hex);
    `skipped` maps a row to its reason.

    A column counts as done only if its dtype is the manifest's, so widening a column makes its shards pending again.
    """

    start: int
    stop: int
    columns: Mapping[str, tuple[str, tuple[str, ...]]]
    skipped: Mapping[int, str] = field(default_factory=dict)

    @property
    def shard(self) -> Shard:
        return Shard(self.start, self.stop)

    def after(self, earlier: CompletionMarker) -> CompletionMarker:
        """This marker with the columns that were done before and are not in it."""
        return replace(self, columns={**earlier.columns, **self.columns})

    def pooled(self) -> dict[str, tuple[str, str]]:
        """`{layer: (dtype, CRC-32C)}` of the pooled layers, which have one chunk a shard."""
        return {
            path: (dtype, checksums[0])
            for path, (dtype, checksums) in self.columns.items()
            if not path.startswith(tokens_path(""))
        }

    def tokens(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """`{layer: (dtype, the CRC-32C of each chunk)}` of the layers whose tokens are stored."""
        prefix = tokens_path("")
        return {path.removeprefix(prefix): said for path, said in self.columns.items() if path.startswith(prefix)}

    def to_json(self) -> bytes:
        body: dict[str, Any] = {
            "start": self.start,
            "stop": self.stop,
            "chunks": self.pooled(),
            "tokens": self.tokens(),
            "skipped": {str(row): reason for row, reason in self.skipped.items()},
        }
        body["checksum"] = f"{crc32c(memoryview(canonical(body))):08x}"
        return canonical(body) + b"\n"

    @classmethod
    def from_json(cls, data: bytes, *, source: str) -> CompletionMarker:
        """Read back what `to_json` wrote. Raises DamageError."""
        try:
            body = json.loads(data)
            checksum = body.pop("checksum")
            if checksum != f"{crc32c(memoryview(canonical(body))):08x}":
                raise ValueError("its checksum does not fit its content")
            return cls(
                start=body["start"],
                stop=body["stop"],
                columns={name: (dtype, (crc,)) for name, (dtype, crc) in body["chunks"].items()}
                | {tokens_path(name): (dtype, tuple(crcs)) for name, (dtype, crcs) in body["tokens"].items()},
                skipped={int(row): reason for row, reason in body["skipped"].items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DamageError(f"{source} is damaged: {error}.") from None


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
