"""A selection over features of the store: which layers, which groups, and what their samples are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from structure.pipeline.aligners.aligner_method import Inputs
from structure.pipeline.aligners.padded import as_sequences
from structure.pipeline.aligners.unpaired import Unpaired
from structure.pipeline.model_selection.candidates import FinalFit, Layers
from structure.pipeline.model_selection.folds import joint_groups
from structure.pipeline.model_selection.options import SelectionOptions
from structure.pipeline.model_selection.outcome import Selection
from structure.pipeline.model_selection.paired_features import PairedFeatures
from structure.pipeline.model_selection.select import pairs_used, select
from structure.pipeline.pairing.layer_choice import last_block, pick_layers, plain
from structure.pipeline.pairing.layer_pair import AlignedLayers, ItemKind
from structure.pipeline.pairing.pairs import PairedRows, choose_sets, has_several
from structure.pipeline.pairing.sample_groups import group_values
from structure.pipeline.pairing.unpaired_rows import UnpairedSource
from structure.pipeline.pairing.vector_sets import stored_tokens
from structure.pipeline.progress import Listener, Note, silent
from structure.pipeline.similarity.layer_similarity import first_layers, second_layers
from structure.store import FeatureSet, JoinedRows, Rows, Store
from structure.store.errors import StructureError
from structure.store.joined_rows import SIGN, is_joined, layer_names

LARGEST_GROUP = 3
"""Duplicates of texts join groups unless one group then had more than a third of the pairs: captions such as class
names repeat everywhere."""

MOST_SEQUENCES = 2 << 30
"""Bytes that the tokens or sets of a layer pair may take in a selection without `memory`."""


@dataclass(frozen=True)
class StoredSelection:
    """What a selection chooses from: the training pairs `rows` of two feature `sets`, and the `several` in which a
    sample has several views or captions, where there are such. `memory` bounds the bytes of two layers of all pairs,
    for the last fit too; None: no bound. `unpaired` names feature sets of samples without a partner; rows with the
    content of `rows` or of the `test` pairs are none."""

    store: Store
    sets: tuple[FeatureSet, FeatureSet]
    rows: PairedRows
    several: tuple[FeatureSet, FeatureSet] | None = None
    memory: int | None = None
    unpaired: Sequence[str] = ()
    test: PairedRows | None = None

    def unpaired_rows(self, layers: Layers, *, seed: int, on_event: Listener) -> Unpaired:
        """The unpaired rows of two pooled layers, of each sample one side. Raises as `UnpairedSource.disjoint`."""
        paired = [rows.items for rows in (self.rows, self.test) if rows is not None]
        source = UnpairedSource(self.store, self.unpaired, self.sets, layers)
        return source.read(source.disjoint(np.concatenate(paired), halves=seed, on_event=on_event))

    def size(self, layers: Layers, rows: PairedRows) -> int:
        """Bytes of these rows of two pooled layers."""
        return self.aligned(layers, "rows").size(rows)

    def aligned(self, layers: Layers, kind: ItemKind) -> AlignedLayers:
        """Two layers, whose samples are of that kind."""
        first, second = self.several if kind == "sets" and self.several else self.sets
        return AlignedLayers(self.store, (first, layers[0]), (second, layers[1]), kind)


def select_stored(
    source: StoredSelection,
    layers: str,
    options: SelectionOptions,
    *,
    common: Mapping[str, Any],
    on_event: Listener = silent,
) -> Selection:
    """Choose method, options and layers for these training pairs; `layers` as `align` takes them, `common` are options
    of every fit (`seed`, `device`). Only the pairs that are used are read.

    Raises StructureError for what is not there, for rows that the memory does not hold, and as `select` does.
    """
    # Several layers are not read in passes, which rows that the memory does not hold would need.
    count, joined = 0 if options.weights else options.layer_candidates, source.memory is None
    pairs = layer_candidates(source.store, source.sets, layers, count, joined=joined)
    count = pairs_used(len(source.rows), options)
    if options.weights and source.memory is not None:
        count = min(count, source.memory * len(source.rows) // max(source.size(pairs[0], source.rows), 1))
    used = source.rows.subset(count, seed=common["seed"])
    groups = sample_groups(source.store, source.sets, used, column=options.group)
    unpaired: dict[Layers, Unpaired] = {}
    for pair in pairs if source.unpaired else ():
        told = silent if unpaired else on_event  # the rows are the same for every layer pair
        unpaired[pair] = source.unpaired_rows(pair, seed=common["seed"], on_event=told)
    features = PairedFeatures(_sides(source, pairs, used, on_event), groups, unpaired)
    needed = [source.size(pair, source.rows) for pair in pairs]
    in_passes = source.memory is not None and max(needed) > source.memory and not options.weights
    return select(features, options, common=common, final=FinalFit(len(source.rows), in_passes), on_event=on_event)


def layer_candidates(
    store: Store, sets: tuple[FeatureSet, FeatureSet], layers: str, count: int, *, joined: bool = True
) -> list[Layers]:
    """Layer pairs to choose from: for "auto" the ranking's first `count`, the last blocks and, `joined`, two layers a
    side, else what is named; a `count` of 0 is the layers that a named method would take."""
    if layers != "auto" or not count:
        first, second, _ = pick_layers(store, *sets, layers)
        return [(first, second)]
    ranking = store, plain(store, sets[0]), plain(store, sets[1])
    ranked, _ = first_layers(*ranking, count)
    last = last_block(sets[0]), last_block(sets[1])
    return list(dict.fromkeys([*ranked, last, *([_two_a_side(ranked[0], second_layers(*ranking))] if joined else [])]))


def _two_a_side(best: Layers, others: tuple[str | None, str | None]) -> Layers:
    """The chosen layer of each side with the other one, where there is one."""
    vision, text = (SIGN.join(filter(None, both)) for both in zip(best, others, strict=True))
    return vision, text


def _sides(
    source: StoredSelection, pairs: Sequence[Layers], rows: PairedRows, on_event: Listener
) -> dict[tuple[Inputs, Layers], tuple[Any, Any]]:
    """Both sides of every layer pair, read when they are used; tokens and sets where they are stored and few enough."""
    sides: dict[tuple[Inputs, Layers], tuple[Any, Any]] = {}
    read: dict[tuple[int, str], Rows] = {}

    def layer_of(side: int, layer: str) -> Rows | JoinedRows:
        features, numbers = source.sets[side], (rows.vision, rows.text)[side]
        names = layer_names(features, layer)
        parts = [read.setdefault((side, name), Rows(features, name, numbers)) for name in names]
        return parts[0] if len(parts) == 1 else JoinedRows(parts)

    for pair in pairs:
        sides["rows", pair] = layer_of(0, pair[0]), layer_of(1, pair[1])
    needed = sum(side.numbers.size * side.column.vector_bytes for side in read.values())
    if source.memory is not None and needed > source.memory:
        raise StructureError(
            f"Cross-validation holds {len(pairs)} layer pairs of {len(rows):,} pairs in memory: {needed:,} bytes, and "
            f"--memory allows {source.memory:,}. Raise --memory, pass --layer-candidates 1, take fewer --pairs, or "
            "name a --method that reads in passes: linear."
        )
    left = MOST_SEQUENCES if source.memory is None else source.memory - needed
    for kind in ("tokens", "sets"):
        for pair in pairs:
            if any(is_joined(features, layer) for features, layer in zip(source.sets, pair, strict=True)):
                continue  # methods that read several vectors a sample read one layer
            stored = _sequences(source, pair, kind)
            if stored is None:
                continue
            size = _size(stored, rows)
            if size > left:
                on_event(
                    Note(
                        f"the {kind} of {pair[0]} and {pair[1]} take {size:,} bytes, more than the {left:,} that are "
                        "left: no method that reads them is a candidate"
                    )
                )
                continue
            left -= size
            both = stored.rows(rows) if kind == "tokens" else stored.read(rows)
            sides[kind, pair] = both if kind == "tokens" else (as_sequences(both[0]), as_sequences(both[1]))
    return sides


def _sequences(source: StoredSelection, pair: Layers, kind: Literal["tokens", "sets"]) -> AlignedLayers | None:
    """These layers, where their tokens or sets are stored."""
    if kind == "tokens":
        layers = (pair[0].partition("@")[0], pair[1].partition("@")[0])
        if not all(layer in stored_tokens(one) for one, layer in zip(source.sets, layers, strict=True)):
            return None
        return source.aligned(layers, kind)
    several = source.several
    if several is None or not all(
        one.is_complete and layer in one.layers for one, layer in zip(several, pair, strict=True)
    ):
        return None
    return source.aligned(pair, kind)


def _size(stored: AlignedLayers, rows: PairedRows) -> int:
    """Bytes of the tokens or sets of these rows."""
    if stored.kind == "sets":
        return stored.size(rows)
    read = [side for side in stored.rows(rows) if isinstance(side, Rows)]
    return sum(int(side.lengths(side.numbers).sum()) * side.column.vector_bytes for side in read)


def several_of(
    store: Store, *, dataset: str | None, split: str | None, vision: str | None, text: str | None
) -> tuple[FeatureSet, FeatureSet] | None:
    """The feature sets that a method over sets would take; None where no sample has several views or captions."""
    try:
        several = choose_sets(store, dataset=dataset, split=split, vision=vision, text=text, several=True)
    except StructureError:
        return None
    return several if any(map(has_several, several)) else None


def sample_groups(
    store: Store, sets: tuple[FeatureSet, FeatureSet], rows: PairedRows, *, column: str | None
) -> np.ndarray:
    """(n,) int64 groups of the pairs: samples with one image digest, one text, or one value in `column`.

    Raises StructureError for a column that the sample index does not have, with those that it has.
    """
    manifest = sets[0].manifest
    samples = store.samples(manifest.dataset, manifest.split)
    images = [digest or None for digest in samples.values("digest", rows.items)]
    texts = samples.values("text", rows.items)
    named = [] if column is None else [group_values(samples, rows.items, column)]
    groups = joint_groups(len(rows), images, texts, *named)
    if np.bincount(groups).max() * LARGEST_GROUP > len(rows):
        return joint_groups(len(rows), images, *named)
    return groups
