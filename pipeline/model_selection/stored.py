"""A selection over features of the store: which layers, which groups, and what their samples are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from structure.pipeline.aligners.aligner_method import Inputs
from structure.pipeline.model_selection.candidates import Layers
from structure.pipeline.model_selection.evaluator import PairedFeatures
from structure.pipeline.model_selection.folds import joint_groups
from structure.pipeline.model_selection.options import SelectionOptions
from structure.pipeline.model_selection.outcome import Selection
from structure.pipeline.model_selection.select import select
from structure.pipeline.pairing.layer_choice import last_block, pick_layers, plain
from structure.pipeline.pairing.pairs import PairedRows
from structure.pipeline.progress import Listener, silent
from structure.pipeline.similarity.layer_similarity import first_layers
from structure.store import FeatureSet, Rows, Samples, Store
from structure.store.errors import unknown

LARGEST_GROUP = 3
"""Duplicates of texts join groups unless one group then had more than a third of the pairs: captions such as class
names repeat everywhere."""


def select_stored(
    store: Store,
    sets: tuple[FeatureSet, FeatureSet],
    rows: PairedRows,
    layers: str,
    options: SelectionOptions,
    *,
    common: Mapping[str, Any],
    on_event: Listener = silent,
) -> Selection:
    """Choose method, options and layers for these training pairs; `layers` as `align` takes them, `common` are options
    of every fit (`seed`, `device`).

    Raises StructureError for what is not there, and as `select` does.
    """
    pairs = layer_candidates(store, sets, layers, 0 if options.weights else options.layer_candidates)
    groups = sample_groups(store, sets, rows, column=options.group)
    sides: dict[tuple[Inputs, Layers], tuple[np.ndarray, np.ndarray]] = {}
    read: dict[tuple[int, str], np.ndarray] = {}
    for pair in pairs:
        for side, numbers in enumerate((rows.vision, rows.text)):
            if (side, pair[side]) not in read:
                read[side, pair[side]] = np.asarray(Rows(sets[side], pair[side], numbers)[:])
        sides["rows", pair] = (read[0, pair[0]], read[1, pair[1]])
    features = PairedFeatures(sides, groups)
    return select(features, options, common=common, on_event=on_event)


def layer_candidates(store: Store, sets: tuple[FeatureSet, FeatureSet], layers: str, count: int) -> list[Layers]:
    """Layer pairs to choose from: for "auto" the ranking's first `count` and the last blocks, else what is named;
    a `count` of 0 is the layers that a named method would take."""
    if layers != "auto" or not count:
        first, second, _ = pick_layers(store, *sets, layers)
        return [(first, second)]
    ranked, _ = first_layers(store, plain(store, sets[0]), plain(store, sets[1]), count)
    return list(dict.fromkeys([*ranked, (last_block(sets[0]), last_block(sets[1]))]))


def sample_groups(
    store: Store, sets: tuple[FeatureSet, FeatureSet], rows: PairedRows, *, column: str | None
) -> np.ndarray:
    """(n,) int64 groups of the pairs: samples with one image digest, one text, or one value in `column`.

    Raises StructureError for a column that the sample index does not have, with those that it has.
    """
    manifest = sets[0].manifest
    samples = store.samples(manifest.dataset, manifest.split)
    table = samples.table.take(samples.first_rows[rows.items])
    images = [digest or None for digest in table["digest"].to_pylist()]
    named = [] if column is None else [_values(samples, table, column)]
    groups = joint_groups(len(rows), images, table["text"].to_pylist(), *named)
    if np.bincount(groups).max() * LARGEST_GROUP > len(rows):
        return joint_groups(len(rows), images, *named)
    return groups


def _values(samples: Samples, table: object, column: str) -> Sequence[object]:
    """The values of a column of the sample index."""
    names = [name for name in samples.table.column_names if name not in ("sample", "caption_index", "stamp")]
    if column not in names:
        raise unknown("column of --group", column, names, hint="A dataset's other columns are not in the store.")
    return [str(value) if value is not None else None for value in table[column].to_pylist()]  # type: ignore[index]
