"""A ranking of two feature sets: from the items that both have read to scores, their calibration, and the choice.

Everything costly is kept in the store under what it came from, so another k, another measure of the same tables, or
another partner only costs what is new.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypedDict

import numpy as np
import xarray as xr

from structure.pipeline.device import resolve_device
from structure.pipeline.pairing.pairs import PairedRows, SelectedRows, pair_rows
from structure.pipeline.progress import Listener, Note, Progress, silent
from structure.pipeline.ranking.neighbour_cache import NeighbourCache
from structure.pipeline.similarity.clamp import Clamp, Clamped, clamp_levels
from structure.pipeline.similarity.deduplicate import deduplicate
from structure.pipeline.similarity.k_rules import k_of
from structure.pipeline.similarity.knn.neighbours import MEMORY, Neighbours
from structure.pipeline.similarity.knn.tables import TASK_ROWS, Compute, neighbour_tables
from structure.pipeline.similarity.knn.unit_rows import UnitRows
from structure.pipeline.similarity.layer_similarity import LayerSimilarity, choice, ranking_id
from structure.pipeline.similarity.metric import ComparedLayers
from structure.pipeline.similarity.permutation_test import Calibration, calibrate
from structure.pipeline.similarity.registry import SIMILARITIES, metric_named
from structure.pipeline.similarity.stability import (
    Subset,
    SubsetTables,
    draw_subsets,
    stability,
    subset_tables,
)
from structure.store import FeatureSet, Samples, Store
from structure.store.errors import unknown

Preset = Literal["structure", "platonic"]
Count = int | Literal["all"]
PRESETS: dict[str, dict[str, Any]] = {
    # arXiv 2506.16895, section 3: up to 5,000 pairs, no clamp, k by the Rice rule.
    "structure": {"k": "rice", "samples": 5000, "clamp": None},
    # Huh et al. 2024 as published: entries clamped at the 0.95 quantile, k = 10.
    "platonic": {"k": 10, "samples": None, "clamp": "approx"},
}


@dataclass(frozen=True)
class RankingOptions:
    """How to rank. `k` is a number or a rule and `samples` how many items; None takes the preset's.

    `calibrate` permutations make the null: None means 200, but none for CKA, whose null costs rows^2 numbers a layer.
    `repeats` subsets of each size tell how stable the choice is.
    """

    metric: str = "mutual_knn"
    preset: Preset = "structure"
    k: int | str | None = None
    samples: Count | None = None
    seed: int = 42
    calibrate: int | None = None
    repeats: int = 5

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise unknown("preset", self.preset, PRESETS)
        object.__setattr__(self, "metric", metric_named(self.metric))

    @property
    def rule(self) -> int | str:
        """The number of neighbours, or the rule that gives it."""
        return PRESETS[self.preset]["k"] if self.k is None else self.k  # type: ignore[no-any-return]

    @property
    def clamp(self) -> Clamp | None:
        return PRESETS[self.preset]["clamp"]  # type: ignore[no-any-return]

    @property
    def draws(self) -> int:
        return SIMILARITIES[self.metric].permutations if self.calibrate is None else self.calibrate

    def rows(self, pairs: PairedRows) -> PairedRows:
        """The seeded subset that is ranked."""
        wanted = PRESETS[self.preset]["samples"] if self.samples is None else self.samples
        return pairs.subset(wanted, seed=self.seed) if isinstance(wanted, int) else pairs


@dataclass(frozen=True)
class Running:
    """Where and within what a ranking computes; nothing of it changes a score. `device` "auto" takes a GPU if there is
    one."""

    device: str = "auto"
    memory: int = MEMORY
    compute: Compute | None = None
    on_event: Listener = silent

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", resolve_device(self.device))


class RankingFlags(TypedDict, total=False):
    """What `rank_layers` and `rank_models` both take: the fields of `RankingOptions` and of `Running`."""

    metric: str
    preset: Preset
    k: int | str | None
    samples: Count | None
    seed: int
    calibrate: int | None
    repeats: int
    device: str
    memory: int
    compute: Compute | None
    on_event: Listener


def settled(flags: RankingFlags) -> tuple[RankingOptions, Running]:
    """How to rank, and where. Raises TypeError for a flag that neither has."""
    where = {name: value for name, value in flags.items() if name in {field.name for field in fields(Running)}}
    how = {name: value for name, value in flags.items() if name not in where}
    return RankingOptions(**how), Running(**where)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Ranked:
    """What `rank_pair` found; `curve` (k, Lv, Lt) holds the mutual kNN at every k up to the ranking's."""

    similarity: LayerSimilarity
    calibration: Calibration
    curve: np.ndarray | None

    def save(self) -> None:
        """Write the ranking into the store."""
        self.similarity.save(self.calibration, self.curve)


def rank_pair(store: Store, vision: FeatureSet, text: FeatureSet, options: RankingOptions, running: Running) -> Ranked:
    """Score all layer pairs of two feature sets and choose one; keeps neighbour tables, writes no ranking yet.

    One row an item (its first caption); items whose picture or text repeats an earlier one are ranked once. Raises
    StructureError for too few rows or layers that are all constant.
    """
    began = time.perf_counter()
    pairs, folded = distinct_pairs(store, vision, text)
    pairs = options.rows(pairs)
    depth = k_of(options.rule, len(pairs))
    if folded:
        running.on_event(Note(f"{folded:,} items repeat the picture or the text of another and are ranked once"))
    sides = [
        RankedSide(store, features, rows, options.clamp, running)
        for features, rows in ((vision, pairs.vision), (text, pairs.text))
    ]
    kind, tables, stable = SIMILARITIES[options.metric], None, []
    if kind.needs_neighbours:
        found = [side.tables(depth) for side in sides]
        tables = np.stack([own.table for own in found[0]]), np.stack([own.table for own in found[1]])
        constant = [np.array([own.constant for own in side]) for side in found]
    else:
        constant = [side.constant(running.memory) for side in sides]
    vision_layers, text_layers = (list(side.sources.values()) if kind.needs_rows else [] for side in sides)
    metric = kind(ComparedLayers(vision_layers, text_layers, tables, running.memory))
    curve = metric.mutual_knn_curve()
    calibration = calibrate(
        metric,
        constant=(constant[0], constant[1]),
        draws=options.draws,
        seed=options.seed,
        on_draw=lambda done: running.on_event(Progress("null", done, options.draws, "permutations")),
    )
    if kind.can_repeat_on_subsets() and options.repeats:
        subsets = draw_subsets(len(pairs), k=options.rule, repeats=options.repeats, seed=options.seed)
        stable = stability(kind, subsets, *(side.subset_tables(subsets) for side in sides), reference=calibration.best)
    names = [list(side.layers) for side in sides]
    matrix = xr.DataArray(
        calibration.scores,
        dims=("vision_layer", "text_layer"),
        coords={"vision_layer": names[0], "text_layer": names[1]},
        name=options.metric,
        attrs={"k": depth, "rows": len(pairs), "preset": options.preset, "seed": options.seed},
    )
    document = {
        "metric": options.metric,
        "preset": options.preset,
        "k": depth,
        "rows": len(pairs),
        "folded": folded,
        "skipped": pairs.skipped,
        "seed": options.seed,
        "dataset": vision.manifest.dataset,
        "split": vision.manifest.split,
        "vision": {"model": vision.manifest.encoder, "fingerprint": vision.fingerprint, "layers": names[0]},
        "text": {"model": text.manifest.encoder, "fingerprint": text.fingerprint, "layers": names[1]},
        "chance": metric.chance(),
        # A metric can be undefined for a constant layer; JSON has no NaN.
        "scores": [[None if np.isnan(score) else float(score) for score in row] for row in calibration.scores],
        "constant": {
            side: [name for name, flat in zip(own, flags, strict=True) if flat]
            for side, own, flags in zip(("vision", "text"), names, constant, strict=True)
        },
        **choice(metric, matrix, calibration, curve, stable),
        "seconds": time.perf_counter() - began,
    }
    folder = store.folder("rankings", ranking_id(vision, text, metric=options.metric))
    return Ranked(LayerSimilarity(matrix, document, folder), calibration, curve)


class RankedSide:
    """One feature set of a ranking: its layers restricted to the ranked rows, and their tables from the store.

    Tables are read where they are kept, computed and kept where not.
    """

    def __init__(
        self, store: Store, features: FeatureSet, rows: np.ndarray, clamp: Clamp | None, running: Running
    ) -> None:
        self.features, self.clamp, self.running = features, clamp, running
        self.layers = {layer: SelectedRows(features, layer, rows) for layer in features.layers}
        self.cache = NeighbourCache(store, features, rows, preprocessing=f"clamp={clamp}" if clamp else "")
        self._sources: dict[str, Any] | None = None

    @property
    def sources(self) -> dict[str, Any]:
        """The layers as they are compared: clamped where the preset says so (which reads them all, once)."""
        if self._sources is None:
            self._sources = dict(self.layers)
            if self.clamp is not None:
                levels = clamp_levels(list(self.layers.values()), self.clamp)
                self._sources = {
                    name: Clamped(layer, level)
                    for (name, layer), level in zip(self.layers.items(), levels, strict=True)
                }
        return self._sources

    def tables(self, k: int) -> list[Neighbours]:
        """The neighbours of every layer, in order of depth."""
        found = {layer: self.cache.load(layer, k=k) for layer in self.layers}
        run = self.running

        def keep(layer: str, table: Neighbours) -> None:
            self.cache.keep({layer: table})
            found[layer] = table
            done = sum(table is not None for table in found.values())
            run.on_event(Progress(f"neighbours of {self.features.key}", done, len(self.layers), "layers"))

        due = [layer for layer, table in found.items() if table is None]
        if due:
            neighbour_tables(
                {layer: self.sources[layer] for layer in due},
                k=k,
                device=run.device,
                memory=run.memory,
                compute=run.compute,
                task_rows=TASK_ROWS,
                on_table=keep,
            )
        return [table for table in found.values() if table is not None]

    def subset_tables(self, subsets: Sequence[Subset]) -> list[SubsetTables]:
        """The neighbours of every layer among each subset."""
        found = self.cache.load_subsets(subsets)
        if found is None:
            found = subset_tables(self.sources, subsets, memory=self.running.memory)
            self.cache.keep_subsets(subsets, found)
        return found

    def constant(self, memory: int) -> np.ndarray:
        """`(layers,)` bool: which layers point one way in every row."""
        return np.array([UnitRows(x, k=1, memory=memory, name=name).is_constant() for name, x in self.sources.items()])


def distinct_pairs(store: Store, vision: FeatureSet, text: FeatureSet) -> tuple[PairedRows, int]:
    """The pairs with every picture and every text once, and how many items were folded into an earlier one."""
    rows = pair_rows(store, vision, text)
    samples = store.samples(vision.manifest.dataset, vision.manifest.split)
    digests = [digest or None for _, digest in samples.digests.values()]
    folding = deduplicate([digests[item] for item in rows.items], [_text(samples, item) for item in rows.items])
    kept = folding.kept
    return PairedRows(rows.vision[kept], rows.text[kept], rows.items[kept], rows.skipped), folding.folded


def _text(samples: Samples, item: int) -> str | None:
    text: str | None = samples.table["text"][int(samples.first_rows[item])].as_py()
    return text
