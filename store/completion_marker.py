"""The completion marker of a shard: written after its data are durable, it is what makes the shard exist."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from structure.store.chunk import crc32c
from structure.store.column import tokens_path
from structure.store.errors import DamageError
from structure.store.fingerprint import canonical
from structure.store.shard import Shard


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
