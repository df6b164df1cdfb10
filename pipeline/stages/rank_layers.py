"""Stage 2: score every pair of a vision and a text layer over the store, hold the best against chance, and choose."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from structure.pipeline.device import resolve_device
from structure.pipeline.features.neighbour_cache import NeighbourCache
from structure.pipeline.features.pairs import Pairs, SelectedRows, choose_sets, pair_rows
from structure.pipeline.figures import save_heatmap
from structure.pipeline.progress import Listener, Note, Progress, silent
from structure.pipeline.similarity.calibration import calibrate as calibrated
from structure.pipeline.similarity.clamp import Clamp, Clamped, clamp_levels
from structure.pipeline.similarity.distinct import fold
from structure.pipeline.similarity.neighbours import MEMORY, Neighbours
from structure.pipeline.similarity.ranking import LayerSimilarity, choice, ranking_id
from structure.pipeline.similarity.rules import k_of
from structure.pipeline.similarity.score import METRICS, layer_similarity
from structure.pipeline.similarity.tables import Compute, neighbour_tables
from structure.store import FeatureSet, Samples, Store, open_store
from structure.store.errors import unknown

Preset = Literal["structure", "platonic"]
PRESETS: dict[str, dict[str, Any]] = {
    # arXiv 2506.16895, section 3: up to 5,000 pairs, no clamp, k by the Rice rule.
    "structure": {"k": "rice", "samples": 5000, "clamp": None},
    # Huh et al. 2024 as published: entries clamped at the 0.95 quantile, k = 10.
    "platonic": {"k": 10, "samples": None, "clamp": "approx"},
}


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
    samples: int | Literal["all"] | None = None,
    seed: int = 42,
    calibrate: int = 200,
    device: str = "auto",
    memory: int = MEMORY,
    compute: Compute | None = None,
    on_event: Listener = silent,
) -> LayerSimilarity:
    """Score all layer pairs of one vision and one text feature set; keep matrix, choice and heatmap in the store.

    One row an item (its first caption); items whose picture or text repeats an earlier one are ranked once. `samples`
    takes a seeded subset, `k` is a number or a rule; both default to the preset's. `calibrate` is the number of
    permutations of the null. `compute` runs the per-layer tasks elsewhere (a dask cluster). Raises StructureError for
    too few rows, an unknown measure, or layers that are all constant.
    """
    began = time.perf_counter()
    target = store if isinstance(store, Store) else open_store(store)
    metric = metric.replace("-", "_")
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    settings = PRESETS[preset]
    ours, theirs = choose_sets(target, dataset=dataset, split=split, vision=vision, text=text)
    rows, folded = distinct_pairs(target, ours, theirs)
    wanted = settings["samples"] if samples is None else samples
    if isinstance(wanted, int):
        rows = rows.subset(wanted, seed=seed)
    depth = k_of(settings["k"] if k is None else k, len(rows))
    if folded:
        on_event(Note(f"{folded:,} items repeat the picture or the text of another and are ranked once"))
    first, second = selected(ours, rows.vision), selected(theirs, rows.text)
    clamp, calibration = settings["clamp"], None
    running: dict[str, Any] = {"device": resolve_device(device), "memory": memory, "compute": compute}
    if metric == "mutual_knn":
        tables = [
            _tables(
                NeighbourCache(target, features, chosen, preprocessing=f"clamp={clamp}" if clamp else ""),
                layers,
                k=depth,
                clamp=clamp,
                on_event=on_event,
                what=features.key,
                **running,
            )
            for features, chosen, layers in ((ours, rows.vision, first), (theirs, rows.text, second))
        ]
        calibration = calibrated(*(list(side.values()) for side in tables), k=depth, draws=calibrate, seed=seed)
        scores = calibration.scores
    else:
        scores = layer_similarity(
            list(first.values()), list(second.values()), metric=metric, k=depth, clamp=clamp, memory=memory
        )
    matrix = xr.DataArray(
        scores,
        dims=("vision_layer", "text_layer"),
        coords={"vision_layer": list(first), "text_layer": list(second)},
        name=metric,
        attrs={"k": depth, "rows": len(rows), "preset": preset, "seed": seed},
    )
    document = {
        "metric": metric,
        "preset": preset,
        "k": depth,
        "rows": len(rows),
        "folded": folded,
        "skipped": rows.skipped,
        "seed": seed,
        "dataset": ours.manifest.dataset,
        "split": ours.manifest.split,
        "vision": {"model": ours.manifest.encoder, "fingerprint": ours.fingerprint, "layers": list(first)},
        "text": {"model": theirs.manifest.encoder, "fingerprint": theirs.fingerprint, "layers": list(second)},
        "chance": depth / (len(rows) - 1) if metric == "mutual_knn" else None,
        # A measure can be undefined for a constant layer; JSON has no NaN.
        "scores": [[None if np.isnan(score) else float(score) for score in row] for row in scores],
        **choice(matrix, calibration),
        "seconds": time.perf_counter() - began,
    }
    folder = target.folder("rankings", ranking_id(ours, theirs, metric=metric))
    similarity = LayerSimilarity(matrix, document, folder)
    similarity.save(calibration)
    save_heatmap(matrix, document, folder / "heatmap.png")
    return similarity


def distinct_pairs(store: Store, vision: FeatureSet, text: FeatureSet) -> tuple[Pairs, int]:
    """The pairs with every picture and every text once, and how many items were folded into an earlier one."""
    rows = pair_rows(store, vision, text)
    samples = store.samples(vision.manifest.dataset, vision.manifest.split)
    digests = [digest or None for _, digest in samples.digests.values()]
    folding = fold([digests[item] for item in rows.items], [_text(samples, item) for item in rows.items])
    kept = folding.kept
    return Pairs(rows.vision[kept], rows.text[kept], rows.items[kept], rows.skipped), folding.folded


def _text(samples: Samples, item: int) -> str | None:
    text: str | None = samples.table["text"][int(samples.first_rows[item])].as_py()
    return text


def selected(features: FeatureSet, rows: np.ndarray) -> dict[str, SelectedRows]:
    """Every layer of a feature set, restricted to some rows."""
    return {layer: SelectedRows(features, layer, rows) for layer in features.layers}


def _tables(
    cache: NeighbourCache,
    layers: dict[str, SelectedRows],
    *,
    k: int,
    clamp: Clamp | None,
    what: str,
    compute: Compute | None,
    on_event: Listener,
    **running: Any,
) -> dict[str, Neighbours]:
    """Neighbour tables of every layer: from the store where they are, computed and kept where not."""
    found = {layer: cache.load(layer, k=k) for layer in layers}
    sources: dict[str, Any] = {layer: layers[layer] for layer, table in found.items() if table is None}
    if sources and clamp is not None:
        levels = dict(zip(layers, clamp_levels(list(layers.values()), clamp), strict=True))
        sources = {layer: Clamped(source, levels[layer]) for layer, source in sources.items()}
    # With a cluster all layers at once; here one after another, since each uses every core, and progress shows.
    for group in [sources] if compute is not None else [{layer: source} for layer, source in sources.items()]:
        made = neighbour_tables(group, k=k, compute=compute, **running)
        cache.keep(made)
        found |= made
        on_event(Progress(f"neighbours of {what}", sum(t is not None for t in found.values()), len(layers), "layers"))
    return {layer: table for layer, table in found.items() if table is not None}
