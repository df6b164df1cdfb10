"""Samples that are several vectors: the tokens of a layer, or the views and captions of an entity, for chosen
samples."""

from __future__ import annotations

import numpy as np

from structure.pipeline.extraction.command_to_repeat import command_to_repeat
from structure.store import FeatureSet, Rows, Samples, Tokens
from structure.store.column_layout import tokens_path
from structure.store.errors import StructureError
from structure.store.joined_rows import is_joined


def require_one_layer(features: FeatureSet, layer: str) -> None:
    """Raises StructureError for several layers joined with `+`: their vectors of a sample are not the same ones."""
    if is_joined(features, layer):
        raise StructureError(
            f"{layer} is several layers, and this method reads several vectors a sample, of one layer. Name one "
            "layer a side, or a method that reads one vector a sample, such as --method kernel-csa."
        )


def stored_tokens(features: FeatureSet) -> list[str]:
    """The layers all of whose tokens are in the store, in order of depth."""
    lacking = {name for names in features.pending().values() for name in names}
    return [layer for layer in features.token_layers if tokens_path(layer) not in lacking]


def require_tokens(features: FeatureSet, layer: str) -> None:
    """Raises StructureError, with the command that helps, unless the tokens of this layer are all in the store."""
    if layer in stored_tokens(features):
        return
    kept = ", ".join(features.token_layers) or "none"
    raise StructureError(
        f"{features.key} has no tokens of layer {layer} (it has: {kept}). This method reads every token of a layer. "
        f"Run: {command_to_repeat(features, tokens=[layer])}"
    )


def rows_of_sets(
    features: FeatureSet, samples: Samples, items: np.ndarray, most: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Ascending rows of each of those samples that could be read (its views, or its captions; the first `most` of
    them), and how many each sample has. `items` are sample numbers of `samples`, ascending."""
    manifest = features.manifest
    if manifest.rows_of == "items":
        of_row = np.repeat(np.arange(len(features) // manifest.views), manifest.views)
    else:
        of_row = samples.item_of_caption(manifest.captions)[: len(features)]
    rows = np.flatnonzero(features.valid & np.isin(of_row, items))
    place = np.searchsorted(items, of_row[rows])
    first = np.searchsorted(place, np.arange(len(items)))
    kept = np.arange(len(rows)) - first[place] < (most or len(rows))
    return rows[kept], np.bincount(place[kept], minlength=len(items))


def read_sets(features: FeatureSet, layer: str, samples: Samples, items: np.ndarray, most: int | None = None) -> Tokens:
    """The rows of `rows_of_sets`; a sample is one row of the result."""
    rows, counts = rows_of_sets(features, samples, items, most)
    offsets = np.zeros(len(items) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return Tokens(np.asarray(Rows(features, layer, rows)[:]), offsets)
