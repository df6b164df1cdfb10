"""The completion marker of a shard: written after its data are durable, it is what makes the shard exist."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from structure.store.chunk import crc32c
from structure.store.errors import DamageError
from structure.store.fingerprint import canonical
from structure.store.shard import Shard


@dataclass(frozen=True)
class CompletionMarker:
    """Checksums of one shard: `chunks` maps a column to (dtype, CRC-32C as hex); `tokens` maps a layer to (dtype, one
    CRC-32C for each chunk of its tokens); `skipped` maps a row to its reason.

    A column counts as done only if its dtype is the manifest's, so widening a column makes its shards pending again.
    """

    start: int
    stop: int
    chunks: Mapping[str, tuple[str, str]]
    skipped: Mapping[int, str] = field(default_factory=dict)
    tokens: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)

    @property
    def shard(self) -> Shard:
        return Shard(self.start, self.stop)

    def after(self, earlier: CompletionMarker) -> CompletionMarker:
        """This marker with the columns that were done before and are not in it."""
        return replace(self, chunks={**earlier.chunks, **self.chunks}, tokens={**earlier.tokens, **self.tokens})

    def to_json(self) -> bytes:
        body = asdict(self)
        body["skipped"] = {str(row): reason for row, reason in self.skipped.items()}
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
                chunks={name: (dtype, crc) for name, (dtype, crc) in body["chunks"].items()},
                skipped={int(row): reason for row, reason in body["skipped"].items()},
                tokens={name: (dtype, tuple(crcs)) for name, (dtype, crcs) in body["tokens"].items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DamageError(f"{source} is damaged: {error}.") from None
