"""How far apart captions of one sample are, beside those of different samples."""

from __future__ import annotations

import numpy as np

from structure.pipeline.aligners.structure_diagnosis import share_within
from structure.pipeline.pairing.pairs import has_several
from structure.store import FeatureSet, Store
from structure.store.joined_rows import has_layers, layer_rows

MOST_CAPTIONS = 4096
"""Captions that are read, the first ones."""


def text_within(store: Store, text: FeatureSet, layer: str) -> float | None:
    """Share of the variance of a layer's caption features within samples: of this feature set, or of one of the same
    encoder that has several captions a sample. None where there is none."""
    mine = text.manifest
    for features in [text, *store.feature_sets(dataset=mine.dataset, split=mine.split)]:
        manifest = features.manifest
        same = manifest.modality == mine.modality and manifest.identity["encoder"] == mine.identity["encoder"]
        is_there = features.is_complete and has_layers(features, layer)
        if same and is_there and manifest.rows_of == "captions" and has_several(features):
            rows = np.flatnonzero(features.valid)[:MOST_CAPTIONS]
            samples = store.samples(mine.dataset, mine.split).item_of_caption(manifest.captions)
            return share_within(np.asarray(layer_rows(features, layer, rows)[:]), samples[rows])
    return None
