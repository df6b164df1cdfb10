"""How large the features of a model are, and how much one pass through it computes, from its description alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from structure.pipeline.cost_model.quantity import Quantity, unknown
from structure.pipeline.encoders.catalogue import catalogue
from structure.pipeline.encoders.layer import Layer
from structure.store.chunk import CRC_BYTES
from structure.store.column_layout import Column
from structure.store.errors import UsageError
from structure.store.shard_ranges import least_shards, shard_size, stored_rows

CAPTION_TOKENS = 20
"""Tokens of a caption with its two special ones, assumed: captions of photographs have some ten words."""

PARAMETER_BYTES = 4
"""Bytes of a parameter in memory: encoders compute in float32 unless --amp says otherwise."""


@dataclass(frozen=True)
class ModelSize:
    """A model as the store and a processor see it. `columns`: the layers that are stored, in order of depth;
    `parameters`: 0 where they are not known; `tokens` of one sample."""

    name: str
    modality: str
    columns: tuple[Column, ...]
    parameters: int
    tokens: Quantity

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers in a row of each layer."""
        return tuple(column.width for column in self.columns)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row over all layers."""
        return sum(column.vector_bytes for column in self.columns)

    def shard_rows(self, rows: int) -> int:
        """Rows in a shard of so many rows."""
        return shard_size(rows, self.row_bytes, shards=least_shards(self.modality))

    def disk(self, rows: int) -> int:
        """Bytes of the chunks of so many rows, each with its checksum."""
        chunks = self.shards(rows) * len(self.columns)
        return stored_rows(rows, self.shard_rows(rows)) * self.row_bytes + chunks * CRC_BYTES

    def shards(self, rows: int) -> int:
        """How many shards so many rows are."""
        return -(-rows // self.shard_rows(rows))

    def files(self, rows: int) -> int:
        """Chunks and completion markers of so many rows."""
        return self.shards(rows) * (len(self.columns) + 1)

    def operations(self, rows: int) -> Quantity:
        """Floating-point operations of one pass over so many samples: two for each parameter and token (Kaplan et al.,
        arXiv 2001.08361, section 2.1). Of texts this counts the table of token vectors, which is looked up only."""
        if not self.parameters:
            return unknown(f"the parameters of {self.name} are not on record")
        return self.tokens.times(2.0 * self.parameters * rows, basis="formula")


def model_size(name: str, *, layers: int | None = None) -> ModelSize:
    """The size of an alias, or of a model that is described without its weights; `layers`: the last so many of them
    (None: all). Raises as `describe` does, and UsageError for more layers than it has."""
    alias = catalogue().get(name)
    if alias is not None:
        tokens = _tokens(name, alias.modality, alias.input, alias.patch)
        columns = _columns(name, alias.layers, layers)
        return ModelSize(name, alias.modality, columns, alias.parameters, tokens)
    from structure.pipeline.encoders.loading import describe  # a name that is no alias may take its library

    found = describe(name)
    tokens = _tokens(name, found.modality, found.input, 0)
    return ModelSize(name, found.modality, _columns(name, found.layers, layers), found.parameters, tokens)


def _columns(name: str, layers: Sequence[Layer], last: int | None) -> tuple[Column, ...]:
    if last is not None and last > len(layers):
        raise UsageError(f"--layers {last} is more than the {len(layers)} layers of {name}. Pass --layers all.")
    return tuple(Column(layer.name, layer.width) for layer in (layers if last is None else layers[-last:]))


def _tokens(name: str, modality: str, side: int, patch: int) -> Quantity:
    if modality == "text":
        return Quantity(CAPTION_TOKENS, "assumed", f"{CAPTION_TOKENS} tokens a caption")
    if patch:
        return Quantity(float((side // patch) ** 2 + 1), "formula")
    return unknown(f"{name} has no patches: its operations are no product of parameters and tokens")
