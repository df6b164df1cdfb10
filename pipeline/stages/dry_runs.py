"""What ranking, training and evaluation would do, before they do it: rows, bytes, time, what is there already."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from structure.pipeline.aligners.aligner_method import method
from structure.pipeline.aligners.estimate import probed_pairs, seconds_at_most
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.device import resolve_device
from structure.pipeline.evaluation.candidate import Candidate, aligner_names
from structure.pipeline.evaluation.task import TaskSource
from structure.pipeline.extraction.feature_source import FeatureSource
from structure.pipeline.extraction.plan import SPARE
from structure.pipeline.pairing.aligned_layers import AlignedLayers
from structure.pipeline.pairing.layer_choice import pick_layers
from structure.pipeline.pairing.pairs import SelectedRows, choose_models, choose_sets, pair_rows
from structure.pipeline.progress import Listener, silent
from structure.pipeline.ranking.distinct_pairs import distinct_pairs
from structure.pipeline.ranking.neighbour_cache import NeighbourCache
from structure.pipeline.ranking.options import RankingOptions
from structure.pipeline.similarity.k_rules import k_of
from structure.pipeline.similarity.knn.neighbours import MEMORY, neighbours
from structure.pipeline.similarity.registry import SIMILARITIES
from structure.pipeline.suites.suite import load_suite
from structure.store import FeatureSet, Store, open_store
from structure.store.errors import NotPresentError, StructureError

PROBED = 1024
"""Rows of the timed searches."""

SHORT_TRAINING = 2_000_000
"""Pairs up to which nobody is asked about a training: on two cores they take half an hour with R_S, of batches of
4,096."""


@dataclass(frozen=True)
class Ahead:
    """One part of the work. `due`: how much of it is still to do, in the unit that `what` names; `disk`: bytes that it
    writes; `memory`: bytes that it holds at once; `seconds`: on this machine, from a probe (None: not to be told)."""

    what: str
    rows: int
    due: int
    disk: int
    memory: int
    seconds: float | None

    def row(self) -> dict[str, Any]:
        """Flat JSON values."""
        return asdict(self)


def require_space(store: Store, parts: Sequence[Ahead]) -> None:
    """Refuse work that the disk cannot hold."""
    needed, free = sum(part.disk for part in parts), store.files.free()
    if free is not None and needed + SPARE > free:
        raise StructureError(
            f"This writes {needed:,} bytes and the disk of {store.url} has {free:,} free ({SPARE:,} are kept spare). "
            "Make space, or choose another --store."
        )


def ahead_of_ranking(
    *,
    store: Store | str | Path,
    dataset: str | None = None,
    split: str | None = None,
    vision: Sequence[str] = (),
    text: Sequence[str] = (),
    between: str | None = None,
    options: RankingOptions | None = None,
    device: str = "auto",
    memory: int = MEMORY,
) -> list[Ahead]:
    """The neighbour tables of each side: those that are kept are not computed again.

    With `between` those of every two models that meet, as of `rank_models`. Raises as `rank_layers` does.
    """
    target, options = store if isinstance(store, Store) else open_store(store), options or RankingOptions()
    if between is None:
        one, other = next(iter(vision), None), next(iter(text), None)
        meeting = [choose_sets(target, dataset=dataset, split=split, vision=one, text=other)]
    else:
        _, meeting = choose_models(target, dataset=dataset, split=split, vision=vision, text=text, between=between)
    place = resolve_device(device)
    parts: dict[tuple[str, int], Ahead] = {}
    for sets in meeting:
        pairs = options.rows(distinct_pairs(target, *sets)[0])
        for features, rows in zip(sets, (pairs.vision, pairs.text), strict=True):
            if (features.key, len(rows)) not in parts:
                parts[features.key, len(rows)] = _of_tables(target, features, rows, options, place, memory)
    require_space(target, list(parts.values()))
    return list(parts.values())


def _of_tables(
    store: Store, features: FeatureSet, rows: np.ndarray, options: RankingOptions, device: str, memory: int
) -> Ahead:
    """What the layers of one feature set take among these rows."""
    if not SIMILARITIES[options.metric].needs_neighbours:
        return Ahead(f"layers of {features.key}", len(rows), len(features.layers), 0, memory, None)
    k = k_of(options.rule, len(rows))
    cache = NeighbourCache(store, features, rows, preprocessing=f"clamp={options.clamp}" if options.clamp else "")
    due = [layer for layer in features.layers if cache.load(layer, k=k) is None]
    seconds = _search_seconds(features, due, rows, k, device) if due else 0.0
    told = f"neighbour tables of {features.key}"
    return Ahead(told, len(rows), len(due), len(due) * len(rows) * k * 4, memory, seconds)


def _search_seconds(features: FeatureSet, layers: Sequence[str], rows: np.ndarray, k: int, device: str) -> float:
    """A search among `PROBED` rows of one layer, scaled: products grow with the square of the rows and the width."""
    some = SelectedRows(features, layers[0], rows[:PROBED])[:]
    began = time.perf_counter()
    neighbours(np.asarray(some, np.float32), k=min(k, len(some) - 1), device=device)
    took = time.perf_counter() - began
    widths = [features.manifest.column(layer).width for layer in layers]
    return took * (len(rows) / len(some)) ** 2 * sum(widths) / widths[0]


def ahead_of_training(
    layers: str = "auto",
    *,
    store: Store | str | Path,
    dataset: str | None = None,
    split: str | None = None,
    vision: str | None = None,
    text: str | None = None,
    options: TrainingOptions | None = None,
    pairs: int | None = None,
    runs: int = 1,
    probe_from: int = 0,
) -> list[Ahead]:
    """All runs of a training together, at most: one that stops early takes less. Raises as `align` does.

    Time is probed where the epochs of all runs see `probe_from` pairs or more (a pair of token lists counts as 16).
    """
    target, options = store if isinstance(store, Store) else open_store(store), options or TrainingOptions()
    aligning = method(options.method)
    kind = aligning.reads(options)
    sets = choose_sets(target, dataset=dataset, split=split, vision=vision, text=text, several=kind == "sets")
    *chosen, _ = pick_layers(target, *sets, layers, tokens=kind == "tokens")
    sides = AlignedLayers(target, (sets[0], chosen[0]), (sets[1], chosen[1]), kind, aligning.most_vectors(options))
    sides.require_complete()
    rows = pair_rows(target, *sets)
    rows = rows if pairs is None else rows.subset(pairs, seed=options.seed)
    first, second = (features.manifest.column(layer).width for features, layer in (sides.vision, sides.text))
    dim = aligning.dim(options, widths=(first, second), pairs=len(rows))
    seconds = None
    if runs * aligning.passes(options) * len(rows) * (16 if kind == "tokens" else 1) >= probe_from:
        probed = rows.subset(probed_pairs(options, tokens=kind == "tokens"), seed=0)
        seconds = runs * seconds_at_most(*sides.read(probed), options, pairs=len(rows))
    parts = [
        Ahead(
            f"{options.method} on {chosen[0]} of {sets[0].key} and {chosen[1]} of {sets[1].key} (runs)",
            len(rows),
            runs,
            runs * (first + second) * dim * 4,
            sides.size(rows),
            seconds,
        )
    ]
    require_space(target, parts)
    return parts


def ahead_of_evaluation(
    suite: str,
    *,
    store: Store | str | Path,
    aligners: Sequence[str] = (),
    datasets: Sequence[str] = (),
    prompts: str | None = None,
    data_root: str | Path = "data",
    device: str = "auto",
    trust_remote_code: bool = False,
    on_event: Listener = silent,
) -> tuple[list[Ahead], list[Mapping[str, str]]]:
    """What encoders still have to read for a suite, each feature set once, and what is not here.

    Opening a dataset keeps its row table; nothing else is written. Raises as `evaluate` does.
    """
    target, place = store if isinstance(store, Store) else open_store(store), resolve_device(device)
    subjects = [Candidate.load(target, name, device=place) for name in aligner_names(target, aligners)]
    source = FeatureSource(target, device=place, trust_remote_code=trust_remote_code, on_event=on_event)
    questions = TaskSource(target, data_root=data_root, prompts=prompts, on_event=on_event)
    parts: dict[str, Ahead] = {}
    absent: list[Mapping[str, str]] = []
    for task in load_suite(suite).select(datasets):
        try:
            question = questions.ask(task)
            sides = ("vision",) if task.kind == "linear_probe" else ("vision", "text")
            for subject, side in itertools.product(subjects, sides):
                record = subject.vision if side == "vision" else subject.text
                worded = question.prompts is not None and side == "text"
                rows = question.prompt_rows() if worded else question.rows
                captions = 1 if worded else None
                found = source.find(record, rows.samples, captions=captions)
                if found is not None:
                    parts.setdefault(found.key, Ahead(f"{found.key} (rows)", len(found), 0, 0, 0, 0.0))
                    continue
                ahead = source.estimate(record, rows, captions=captions, tokens=subject.tokens(side))
                parts.setdefault(
                    ahead.features,
                    Ahead(
                        f"{ahead.features} (rows)",
                        ahead.rows,
                        ahead.rows,
                        ahead.bytes,
                        ahead.memory or 0,
                        ahead.seconds,
                    ),
                )
        except NotPresentError as error:
            absent.append({"dataset": task.title, "how_to_get": str(error)})
    require_space(target, list(parts.values()))
    return list(parts.values()), absent
