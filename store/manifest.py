"""The immutable record of one feature set, and the zarr metadata that follows from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from structure.store.chunk import crc32c
from structure.store.errors import DamageError, StructureError
from structure.store.files import check_key
from structure.store.fingerprint import canonical, fingerprint
from structure.store.shard import Shard, plan_shards

FORMAT = 2
ATTRIBUTE = "structure"
"""The attribute of the zarr group that holds the second copy of the manifest."""

TOKENS = "tokens"
"""The subgroup of the token arrays; `tokens/<layer>` names a token column where pooled columns are named too."""

MOST = 2**40
"""Rows, or numbers in a row, beyond which a manifest is damaged and not large."""

RESERVED = ("sample", "length", "start", TOKENS, "done", "claims", "manifest.json", "zarr.json")

Modality = Literal["vision", "audio", "text"]
RowKind = Literal["items", "captions"]


@dataclass(frozen=True)
class Column:
    """One stored array: a layer under one pooling. `dtype` is `float16` or `float32`."""

    name: str
    width: int
    dtype: str = "float16"

    def __post_init__(self) -> None:
        if not (type(self.width) is int and 1 <= self.width <= MOST) or self.dtype not in ("float16", "float32"):
            raise ValueError(f"column {self.name}: width {self.width}, dtype {self.dtype}")

    @property
    def row_bytes(self) -> int:
        return self.width * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class TokenColumn:
    """The tokens of one layer: a run of tokens for every shard, cut into chunks.

    `tokens`: how many a row has, of which the first `prefix` are no patches and the others a `grid` (height, width);
    None where rows differ (texts), whose lengths lie beside the arrays. `chunk`: rows in a chunk, or tokens where rows
    differ. `chunks`: how many there are.
    """

    name: str
    width: int
    chunk: int
    chunks: int
    dtype: str = "float16"
    tokens: int | None = None
    prefix: int = 0
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if min(self.width, self.chunk, self.chunks) < 1 or self.dtype not in ("float16", "float32"):
            raise ValueError(f"token column {self}")
        if self.grid is not None and self.tokens != self.prefix + self.grid[0] * self.grid[1]:
            raise ValueError(f"token column {self.name}: {self.tokens} tokens, {self.prefix} + {self.grid}")

    @property
    def path(self) -> str:
        """Where it lies in the feature set, and its name among all columns."""
        return f"{TOKENS}/{self.name}"

    @property
    def chunk_tokens(self) -> int:
        """Tokens in a chunk."""
        return self.chunk * (self.tokens or 1)

    @property
    def size(self) -> int:
        """Bytes on disk, before compression."""
        return self.chunks * self.chunk_tokens * self.width * np.dtype(self.dtype).itemsize


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
    modality: Modality
    rows_of: RowKind
    rows: int
    shard_rows: int
    columns: tuple[Column, ...]
    identity: Mapping[str, Any]
    captions: int | None = None
    views: int = 1
    tokens: tuple[TokenColumn, ...] = ()
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
        if bool(self.lengths) != self.is_ragged:
            raise ValueError(f"{self.key}: rows of different lengths need the digest of their lengths, and only they")
        for name in (self.dataset, self.split, self.encoder, *names, *with_tokens):
            if check_key(name) in RESERVED or "/" in name:
                raise StructureError(f"{name!r} cannot name a dataset, split, encoder or layer in the store.")

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

    @property
    def size(self) -> int:
        """Bytes of all columns on disk, before compression."""
        return len(self.shards) * self.shard_rows * sum(column.row_bytes for column in self.columns) + sum(
            column.size for column in self.tokens
        )

    @property
    def paths(self) -> tuple[str, ...]:
        """Names of all columns: pooled layers, then `tokens/<layer>`."""
        return (*(column.name for column in self.columns), *(column.path for column in self.tokens))

    def bytes_of(self, path: str) -> float:
        """Bytes on disk that a row takes in the column of that name, the mean over rows where they differ."""
        if path.startswith(f"{TOKENS}/"):
            return next(column.size for column in self.tokens if column.path == path) / self.rows
        return self.column(path).row_bytes

    def column(self, name: str) -> Column:
        """The column of that name. Raises KeyError."""
        return next(column for column in self.columns if column.name == name)

    def widened(self, path: str) -> Manifest:
        """The same with one column in float32: what `--dtype auto` does where float16 overflows."""
        columns = tuple(replace(c, dtype="float32") if c.name == path else c for c in self.columns)
        tokens = tuple(replace(c, dtype="float32") if c.path == path else c for c in self.tokens)
        return replace(self, columns=columns, tokens=tokens)

    def body(self) -> dict[str, Any]:
        """All fields as JSON values, with the fingerprint and a checksum over everything else."""
        body: dict[str, Any] = json.loads(canonical(asdict(self) | {"fingerprint": self.fingerprint}))
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
            body["columns"] = tuple(Column(**column) for column in body["columns"])
            body["tokens"] = tuple(_token_column(column) for column in body["tokens"])
            return cls(**body)
        except (ValueError, TypeError, KeyError, AttributeError, StructureError) as error:
            raise DamageError(f"{source} is damaged: {error}.") from None


def lengths_digest(lengths: np.ndarray) -> str:
    """Hex SHA-256 of the rows' token counts."""
    return hashlib.sha256(np.ascontiguousarray(lengths, dtype="<i8").data).hexdigest()


def _token_column(body: Mapping[str, Any]) -> TokenColumn:
    grid = body["grid"]
    return TokenColumn(**{**body, "grid": None if grid is None else (grid[0], grid[1])})
