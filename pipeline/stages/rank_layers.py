"""Stage 2: score every pair of a vision and a text layer over the store, test the best by permutations, and choose."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from structure.pipeline.pairing.pairs import choose_sets
from structure.pipeline.ranking.flags import RankingFlags, settled
from structure.pipeline.ranking.rank_pair import rank_pair
from structure.pipeline.similarity.layer_similarity import LayerSimilarity
from structure.store import Store, open_store


def rank_layers(
    *,
    store: Store | str | Path,
    dataset: str | None = None,
    split: str | None = None,
    vision: str | None = None,
    text: str | None = None,
    **flags: Unpack[RankingFlags],
) -> LayerSimilarity:
    """Score all layer pairs of one vision and one text feature set; save matrix, choice and charts in the store.

    `vision` and `text` name encoders; two of one modality may be compared too. Flags: `metric` ("mutual_knn"), `preset`
    ("structure" or "platonic"), `k` (a number or a rule) and `samples` (a number for a seeded subset, or "all"), both
    the preset's by default, `seed` (42), `calibrate` (permutations of the test; the metric's own number), `repeats` (5:
    how often the choice is repeated on random subsets of each size), `device` ("auto"), `memory` (bytes), `compute`
    (runs the search elsewhere: a dask cluster) and `on_event`. Raises StructureError for too few rows, an unknown
    metric, or layers that are all constant.
    """
    options, running = settled(flags)
    target = store if isinstance(store, Store) else open_store(store)
    instead = ", or rank every two of them with --all"
    ours, theirs = choose_sets(target, dataset=dataset, split=split, vision=vision, text=text, instead=instead)
    ranked = rank_pair(target, ours, theirs, options, running)
    ranked.save()
    return ranked.similarity
