"""Stage 2 for many models: the best layer pair of every two feature sets of a dataset, and the matrix of scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal, Unpack

from structure.pipeline.pairing.pairs import choose_models
from structure.pipeline.progress import Note, Progress
from structure.pipeline.ranking.flags import RankingFlags, settled
from structure.pipeline.ranking.rank_pair import rank_pair
from structure.pipeline.similarity.model_matrix import ModelPair, ModelSimilarity, both_ways
from structure.store import Store, open_store
from structure.store.errors import StructureError

Between = Literal["vision-text", "vision-vision", "text-text"]


def rank_models(
    *,
    store: Store | str | Path,
    dataset: str | None = None,
    split: str | None = None,
    vision: Sequence[str] = (),
    text: Sequence[str] = (),
    between: Between = "vision-text",
    **flags: Unpack[RankingFlags],
) -> ModelSimilarity:
    """Rank the layers of every two models of one dataset split; neighbours of a model are searched once.

    `vision` and `text` narrow the models by name (all of them by default); `between` says which modalities meet, each
    two models of one modality once. Every ranking is saved as `rank_layers` saves it, and the matrix of best scores
    (Huh et al. 2024, figure 3) beside them. Flags as there. Two models that cannot be ranked are listed with
    the reason; raises StructureError where no two can.
    """
    began = time.perf_counter()
    options, running = settled(flags)
    target = store if isinstance(store, Store) else open_store(store)
    sides, pairs = choose_models(target, dataset=dataset, split=split, vision=vision, text=text, between=between)
    cells, failed = [], []
    for done, (first, second) in enumerate(pairs, start=1):
        try:
            ranked = rank_pair(target, first, second, options, running)
        except StructureError as error:
            failed.append({"first": first.manifest.encoder, "second": second.manifest.encoder, "why": str(error)})
            running.on_event(Note(f"{first.key} and {second.key} were not ranked: {error}"))
            if len(failed) == len(pairs):
                raise
        else:
            ranked.save()
            cells.append(ModelPair.of(ranked.similarity.ranking, ranked.similarity.folder.name))
        running.on_event(Progress("pairs of models", done, len(pairs), "pairs"))
    best = max(cells, key=lambda cell: cell.score)
    manifest = sides[0][0].manifest
    document = {
        "metric": options.metric,
        "preset": options.preset,
        "seed": options.seed,
        "dataset": manifest.dataset,
        "split": manifest.split,
        "between": between,
        "first": [{"model": s.manifest.encoder, "fingerprint": s.fingerprint} for s in sides[0]],
        "second": [{"model": s.manifest.encoder, "fingerprint": s.fingerprint} for s in sides[1]],
        "cells": [asdict(cell) for cell in cells],
        "best": asdict(best),
        "not_ranked": failed,
        "seconds": time.perf_counter() - began,
    }
    similarity = ModelSimilarity(
        tuple(s.manifest.encoder for s in sides[0]),
        tuple(s.manifest.encoder for s in sides[1]),
        tuple(cells if between == "vision-text" else both_ways(cells)),
        document,
        target.folder("rankings", f"{manifest.dataset}.{manifest.split}.{between}.{options.metric}"),
    )
    similarity.save()
    return similarity
