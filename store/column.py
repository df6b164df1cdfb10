"""One stored array of a feature set: a layer under one pooling, or the tokens of a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

TOKENS = "tokens"
"""The subgroup of the token arrays; `tokens/<layer>` names a token column where pooled columns are named too."""

MOST = 2**40
"""Rows, or numbers in a row, beyond which a manifest is damaged and not large."""


@dataclass(frozen=True)
class Column:
    """A layer under one pooling, or the tokens of a layer; a pooled layer is a column with one token a row.

    `dtype` is `float16` or `float32`. `tokens`: how many vectors a row has, of which the first `prefix` are no patches
    and the others a `grid` (height, width); None where rows differ (texts), whose lengths lie beside the arrays.
    `chunk`: rows in a chunk, or vectors where rows differ; 0 in a pooled layer, whose chunk is a whole shard. `chunks`:
    how many there are, where `chunk` says so.
    """

    name: str
    width: int
    dtype: str = "float16"
    tokens: int | None = 1
    prefix: int = 0
    grid: tuple[int, int] | None = None
    chunk: int = 0
    chunks: int = 0

    def __post_init__(self) -> None:
        counts = [self.width] if self.is_pooled else [self.width, self.chunk, self.chunks, self.tokens or 1]
        if not all(type(n) is int and 1 <= n <= MOST for n in counts) or self.dtype not in ("float16", "float32"):
            raise ValueError(f"column {self.name}: width, chunk, chunks and tokens {counts}, dtype {self.dtype}")
        if self.grid is not None and self.tokens != self.prefix + self.grid[0] * self.grid[1]:
            raise ValueError(f"token column {self.name}: {self.tokens} tokens, {self.prefix} + {self.grid}")

    @property
    def is_pooled(self) -> bool:
        """Whether it has one vector a row and one chunk a shard."""
        return self.chunk == 0

    @property
    def path(self) -> str:
        """Where it lies in the feature set, and its name among all columns."""
        return self.name if self.is_pooled else tokens_path(self.name)

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"layer {self.name}" if self.is_pooled else f"tokens of layer {self.name}"

    @property
    def vector_bytes(self) -> int:
        """Bytes of one vector."""
        return self.width * np.dtype(self.dtype).itemsize

    @property
    def size(self) -> int:
        """Bytes of all its chunks, before compression; 0 in a pooled layer, which does not know the shards."""
        return self.chunks * self.chunk * (self.tokens or 1) * self.vector_bytes

    def to_json(self) -> dict[str, Any]:
        """The fields that the manifest records."""
        fields = asdict(self)
        return {name: fields[name] for name in ("name", "width", "dtype")} if self.is_pooled else fields

    @classmethod
    def pooled_from_json(cls, body: Mapping[str, Any]) -> Column:
        """Read back a pooled layer. Raises ValueError, KeyError or TypeError."""
        return cls(name=body["name"], width=body["width"], dtype=body["dtype"])

    @classmethod
    def tokens_from_json(cls, body: Mapping[str, Any]) -> Column:
        """Read back a token column. Raises as `pooled_from_json` does."""
        grid = body["grid"]
        column = cls(**{**body, "grid": None if grid is None else (grid[0], grid[1])})
        if column.is_pooled:
            raise ValueError(f"token column {column.name} has chunks of no rows")
        return column


def tokens_path(layer: str) -> str:
    """The path of the column that holds the layer's tokens."""
    return f"{TOKENS}/{layer}"
