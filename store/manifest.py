"""The immutable record of one feature set: what it is and what determines its values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from structure.store.chunk import crc32c
from structure.store.column_layout import MOST, TOKENS, Column, ColumnLayout
from structure.store.errors import DamageError, StructureError
from structure.store.files import check_key
from structure.store.fingerprint import canonical, fingerprint
from structure.store.shard_ranges import Shard, plan_shards, stored_rows

FORMAT = 2
ATTRIBUTE = "structure"
"""The attribute of the zarr group that holds the second copy of the manifest."""

RESERVED = ("sample", "length", "start", TOKENS, "done", "claims", "manifest.json", "zarr.json")

RowKind = Literal["items", "captions"]


@dataclass(frozen=True)
class Manifest:
    """What a feature set is. `identity` is everything that determines its bytes, in sections `encoder`, `data` and
    `extraction`; `provenance` is what is worth knowing besides (versions, hardware). All values are JSON.

    `rows_of` says whether a row is a sample of the samples table or one of its captions; `captions` is how many
    captions of a sample are rows (None = all). With `views` above 1 every sample has that many rows, one after another:
    its plain image, then augmented ones. `tokens` are the layers whose tokens are saved besides: no part of the
    identity, they follow from it. `lengths` is the digest of the rows' token counts where these differ.
    """

    dataset: str
    split: str
    encoder: str
    modality: str
    rows_of: RowKind
    rows: int
    shard_rows: int
    columns: tuple[Column, ...]
    identity: Mapping[str, Any]
    captions: int | None = None
    views: int = 1
    tokens: tuple[Column, ...] = ()
    lengths: str = ""
    zstd_level: int | None = None
    provenance: Mapping[str, Any] | None = None
    format: int = FORMAT

    def __post_init__(self) -> None:
        counts = (self.rows, self.shard_rows, self.views, self.captions or 1)
        if not all(type(count) is int and 1 <= count <= MOST for count in counts):
            raise ValueError(f"rows, shard rows, views and captions are {counts}: each a whole number from 1")
        names, with_tokens = [column.name for column in self.columns], [column.name for column in self.tokens]
        if self.views < 1 or self.rows % self.views or (self.views > 1 and self.rows_of != "items"):
            raise ValueError(f"{self.key}: {self.rows} rows of {self.rows_of} in {self.views} views")
        if self.rows < 1 or not names or len(set(names)) != len(names) or len(set(with_tokens)) != len(with_tokens):
            raise ValueError(f"a feature set of {self.rows} rows and the columns {names} and tokens {with_tokens}")
        if not all(column.is_pooled for column in self.columns) or any(column.is_pooled for column in self.tokens):
            raise ValueError(f"{self.key}: the columns of pooled layers and of tokens are mixed up")
        if bool(self.lengths) != self.is_ragged:
            raise ValueError(f"{self.key}: rows of different lengths need the digest of their lengths, and only they")
        for name in (self.dataset, self.split, self.encoder, self.modality, *names, *with_tokens):
            if check_key(name) in RESERVED or "/" in name:
                raise StructureError(f"{name!r} cannot name a dataset, split, encoder, modality or layer in the store.")

    @property
    def key(self) -> str:
        return f"{self.dataset}/{self.split}/{self.encoder}"

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over the identity."""
        return fingerprint(self.identity)

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        return plan_shards(self.rows, self.shard_rows)

    @property
    def is_ragged(self) -> bool:
        """Whether tokens are saved of rows that differ in their number of tokens."""
        return any(column.tokens is None for column in self.tokens)

    @cached_property
    def by_path(self) -> dict[str, Column]:
        """All columns by path: pooled layers, then `tokens/<layer>`."""
        return {column.path: column for column in (*self.columns, *self.tokens)}

    @property
    def paths(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(self.by_path)

    def column(self, path: str) -> Column:
        """The column of that path. Raises KeyError."""
        return self.by_path[path]

    def layout(self, column: Column, lengths: np.ndarray | None = None) -> ColumnLayout:
        """Where the vectors of one of its columns lie. `lengths` (rows,) are the token counts of texts."""
        return ColumnLayout(column, self.shards, self.shard_rows, lengths if column.tokens is None else None)

    @property
    def size(self) -> int:
        """Bytes of all columns on disk, before compression."""
        return sum(self._size_of(column) for column in self.by_path.values())

    def bytes_of(self, path: str) -> float:
        """Bytes on disk that a row takes in the column of that path, the mean over rows where they differ."""
        column = self.column(path)
        return column.vector_bytes if column.is_pooled else self._size_of(column) / self.rows

    def _size_of(self, column: Column) -> int:
        if column.is_pooled:
            return stored_rows(self.rows, self.shard_rows) * column.vector_bytes
        return column.size

    def widened(self, path: str) -> Manifest:
        """The same with one column in float32: what `--dtype auto` does where float16 overflows."""
        columns = tuple(replace(c, dtype="float32") if c.name == path else c for c in self.columns)
        tokens = tuple(replace(c, dtype="float32") if c.path == path else c for c in self.tokens)
        return replace(self, columns=columns, tokens=tokens)

    def body(self) -> dict[str, Any]:
        """All fields as JSON values, with the fingerprint and a checksum over everything else."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        columns = {name: [column.to_json() for column in values[name]] for name in ("columns", "tokens")}
        body: dict[str, Any] = json.loads(canonical(values | columns | {"fingerprint": self.fingerprint}))
        return body | {"checksum": f"{crc32c(memoryview(canonical(body))):08x}"}

    def to_json(self) -> bytes:
        """The file `manifest.json`."""
        return json.dumps(self.body(), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, *, source: str) -> Manifest:
        """Read back what `to_json` wrote. Raises DamageError, or StructureError for a newer format."""
        try:
            body = json.loads(data)
            written = int(body["format"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DamageError(f"{source} is not a manifest: {error}.") from None
        if written != FORMAT:
            remedy = "Install a newer version: pip install -U structure-align"
            if written < FORMAT:
                remedy = "Extract again into another --store, or read this one with the version that wrote it."
            raise StructureError(
                f"{source} was written in store format {written}; this version reads {FORMAT}. {remedy}"
            )
        try:
            checksum = body.pop("checksum")
            if checksum != f"{crc32c(memoryview(canonical(body))):08x}":
                raise ValueError("its checksum does not fit its content")
            body.pop("fingerprint")
            body["columns"] = tuple(Column.pooled_from_json(column) for column in body["columns"])
            body["tokens"] = tuple(Column.tokens_from_json(column) for column in body["tokens"])
            return cls(**body)
        except (ValueError, TypeError, KeyError, AttributeError, StructureError) as error:
            raise DamageError(f"{source} is damaged: {error}.") from None


def require_own(manifest: Manifest, prefix: str, *, source: str) -> None:
    """Raises DamageError for the manifest of another feature set than that of the folder, whose rows are others."""
    if f"/{prefix}".endswith(f"/{manifest.key}"):
        return
    told = f"{source} is not its own: it is that of {manifest.key}, whose rows are others."
    kept = prefix.startswith("features/")
    raise DamageError(told, feature_set=prefix.removeprefix("features/") if kept else "")


def lengths_digest(lengths: np.ndarray) -> str:
    """Hex SHA-256 of the rows' token counts."""
    return hashlib.sha256(np.ascontiguousarray(lengths, dtype="<i8").data).hexdigest()
