"""One layer of a vision and of a text feature set whose rows pair: what an aligner is trained and tested on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from structure.pipeline.pairing.pairs import HeldLayers, PairedRows, SelectedRows, gather
from structure.pipeline.pairing.sequences import gather_sets, gather_tokens, rows_of_sets
from structure.store import FeatureSet, Store
from structure.store.errors import StructureError
from structure.store.row_sources import TokenSource

ItemKind = Literal["rows", "tokens", "sets"]


@dataclass(frozen=True)
class AlignedLayers:
    """Both sides as (feature set, layer). `kind` says what a sample is: one vector, the tokens of the layer, or the set
    of its views and captions, of which `most` (views, captions) are taken at most. `held` keeps layers for further
    runs."""

    store: Store
    vision: tuple[FeatureSet, str]
    text: tuple[FeatureSet, str]
    kind: ItemKind
    most: tuple[int | None, int | None] = (None, None)
    held: HeldLayers | None = None

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
        columns = (features.manifest.column(layer) for features, layer in (self.vision, self.text))
        return sum(count * column.row_bytes for count, column in zip(counts, columns, strict=True))

    def read(self, rows: PairedRows, *, plain: bool = False) -> tuple[Any, Any]:
        """Both sides of these pairs in memory; `plain` takes the first view and the first caption of a set."""
        sides = ((*self.vision, rows.vision), (*self.text, rows.text))
        found: list[Any]
        if self.kind == "tokens":
            found = [gather_tokens(*side) for side in sides]
        elif self.kind == "sets" and not plain:
            samples = self._samples
            found = [
                gather_sets(features, layer, samples, rows.items, most)
                for (features, layer, _), most in zip(sides, self.most, strict=True)
            ]
        else:
            found = [(self.held.gather if self.held else gather)(*side) for side in sides]
        return found[0], found[1]

    def in_passes(self, rows: PairedRows, memory: int) -> tuple[SelectedRows, SelectedRows]:
        """Both sides of these pairs, one vector a sample, read on demand within `memory` bytes."""
        return (
            SelectedRows(*self.vision, rows.vision, memory),
            SelectedRows(*self.text, rows.text, memory),
        )

    def tokens(self, rows: PairedRows) -> tuple[TokenSource, TokenSource]:
        """The tokens of these pairs for the store's shuffled reader."""
        return TokenSource(*self.vision, rows.vision), TokenSource(*self.text, rows.text)

    @property
    def _samples(self) -> Any:
        manifest = self.vision[0].manifest
        return self.store.samples(manifest.dataset, manifest.split)
