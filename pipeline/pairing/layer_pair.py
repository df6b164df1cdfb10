"""A layer, or several, of a vision and of a text feature set whose rows pair: what an aligner is trained and tested
on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from structure.pipeline.pairing.layer_cache import LayerCache
from structure.pipeline.pairing.pairs import PairedRows
from structure.pipeline.pairing.vector_sets import read_sets, require_one_layer, require_tokens, rows_of_sets
from structure.store import FeatureSet, JoinedRows, Rows, Store
from structure.store.column_layout import tokens_path
from structure.store.errors import StructureError
from structure.store.joined_rows import is_joined, layer_rows, loaded, row_bytes, row_width

ItemKind = Literal["rows", "tokens", "sets"]


@dataclass(frozen=True)
class AlignedLayers:
    """Both sides as (feature set, layer); a layer may be several, joined with `+`. `kind` says what a sample is: one
    vector, the tokens of the layer, or the set of its views and captions, of which `most` (views, captions) are taken
    at most. `cache` keeps layers for further runs."""

    store: Store
    vision: tuple[FeatureSet, str]
    text: tuple[FeatureSet, str]
    kind: ItemKind
    most: tuple[int | None, int | None] = (None, None)
    cache: LayerCache | None = None

    def __post_init__(self) -> None:
        for features, layer in (self.vision, self.text):
            if self.kind != "rows":
                require_one_layer(features, layer)

    @property
    def widths(self) -> tuple[int, int]:
        """Numbers in a row of each side."""
        first, second = (
            features.column(tokens_path(layer)).width if self.kind == "tokens" else row_width(features, layer)
            for features, layer in (self.vision, self.text)
        )
        return first, second

    @property
    def joins_layers(self) -> bool:
        """Whether a side is several layers."""
        return any(is_joined(features, layer) for features, layer in (self.vision, self.text))

    @property
    def names(self) -> dict[str, str]:
        """The layers by side."""
        return {"vision": self.vision[1], "text": self.text[1]}

    def require_complete(self) -> None:
        """Raises StructureError where extraction has not ended."""
        for features, _ in (self.vision, self.text):
            if not features.is_complete:
                raise StructureError(
                    f"{features.key} is not complete ({features.state}). Run its extract command again."
                )

    def size(self, rows: PairedRows) -> int:
        """Bytes of these pairs in memory (of tokens it is not asked: their reader keeps its own budget)."""
        counts = (len(rows), len(rows))
        if self.kind == "sets":
            samples = self._samples
            counts = tuple(  # type: ignore[assignment]
                len(rows_of_sets(side[0], samples, rows.items, most)[0])
                for side, most in zip((self.vision, self.text), self.most, strict=True)
            )
        return sum(count * row_bytes(*side) for count, side in zip(counts, (self.vision, self.text), strict=True))

    def read(self, rows: PairedRows, *, plain: bool = False) -> tuple[Any, Any]:
        """Both sides of these pairs in memory; `plain` takes the first view and the first caption of a set."""
        if self.kind == "tokens":
            first, second = (side[:] for side in self.rows(rows))
            return first, second
        if self.kind == "sets" and not plain:
            first, second = (
                read_sets(*side, self._samples, rows.items, most)
                for side, most in zip((self.vision, self.text), self.most, strict=True)
            )
            return first, second
        first, second = (self.cache.read(side) if self.cache else loaded(side) for side in self.rows(rows))
        return first, second

    def rows(self, rows: PairedRows) -> tuple[Rows | JoinedRows, Rows | JoinedRows]:
        """Both sides of these pairs, read on demand: one vector a sample, or its tokens. Raises StructureError where
        the tokens are not stored."""
        sides: list[Rows | JoinedRows] = []
        for (features, layer), numbers in ((self.vision, rows.vision), (self.text, rows.text)):
            if self.kind == "tokens":
                require_tokens(features, layer)
                sides.append(Rows(features, tokens_path(layer), numbers))
            else:
                sides.append(layer_rows(features, layer, numbers))
        return sides[0], sides[1]

    @property
    def _samples(self) -> Any:
        manifest = self.vision[0].manifest
        return self.store.samples(manifest.dataset, manifest.split)
