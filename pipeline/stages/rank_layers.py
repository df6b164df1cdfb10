"""Stage 2: score every pair of a vision and a text layer over the store, hold the best against chance, and choose."""

from __future__ import annotations

from pathlib import Path

from structure.pipeline.device import resolve_device
from structure.pipeline.features.pairs import choose_sets
from structure.pipeline.features.ranking import Count, Preset, RankingOptions, Running, rank_pair
from structure.pipeline.progress import Listener, silent
from structure.pipeline.similarity.neighbours import MEMORY
from structure.pipeline.similarity.ranking import LayerSimilarity
from structure.pipeline.similarity.tables import Compute
from structure.store import Store, open_store


def rank_layers(
    *,
    store: Store | str | Path,
    dataset: str | None = None,
    split: str | None = None,
    vision: str | None = None,
    text: str | None = None,
    metric: str = "mutual_knn",
    preset: Preset = "structure",
    k: int | str | None = None,
    samples: Count | None = None,
    seed: int = 42,
    calibrate: int | None = None,
    repeats: int = 5,
    device: str = "auto",
    memory: int = MEMORY,
    compute: Compute | None = None,
    on_event: Listener = silent,
) -> LayerSimilarity:
    """Score all layer pairs of one vision and one text feature set; keep matrix, choice and pictures in the store.

    `vision` and `text` name encoders; two of one modality may be compared too. `samples` takes a seeded subset, `k` is
    a number or a rule; both default to the preset's. `calibrate` is the number of permutations of the null,
    `repeats` how often the choice is repeated on random subsets of each size. `compute` runs the search elsewhere (a
    dask cluster). Raises StructureError for too few rows, an unknown measure, or layers that are all constant.
    """
    options = RankingOptions(metric, preset, k, samples, seed, calibrate, repeats)
    target = store if isinstance(store, Store) else open_store(store)
    ours, theirs = choose_sets(target, dataset=dataset, split=split, vision=vision, text=text)
    ranked = rank_pair(target, ours, theirs, options, Running(resolve_device(device), memory, compute, on_event))
    ranked.save()
    return ranked.similarity
