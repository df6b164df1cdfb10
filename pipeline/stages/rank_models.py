"""Stage 2 for many models: the best layer pair of every two feature sets of a dataset, and the matrix of scores."""

from __future__ import annotations

import time
from dataclasses import asdict

from structure.pipeline.keyword_form import keyword_form
from structure.pipeline.pairing.pairs import choose_models
from structure.pipeline.progress import Progress
from structure.pipeline.ranking.compute_settings import ComputeSettings
from structure.pipeline.ranking.estimate import estimate_ranking
from structure.pipeline.ranking.rank_pair import rank_pair
from structure.pipeline.run_context import RunContext
from structure.pipeline.similarity.model_matrix import ModelPair, ModelSimilarity, both_ways
from structure.pipeline.stage_requests.rank import RankModelsRequest
from structure.pipeline.work_estimate import WorkEstimate
from structure.store import FeatureSet
from structure.store.errors import MachineError, StructureError


def plan(request: RankModelsRequest, context: RunContext) -> list[WorkEstimate]:
    """The neighbour tables of every model that are to be searched, each once, and the permutation tests. Raises as
    `run` does."""
    return estimate_ranking(context, _pairs(request, context)[1], request.options, memory=request.memory)


def run(request: RankModelsRequest, context: RunContext) -> ModelSimilarity:
    """Rank every two models; every ranking is saved as `rank_layers` saves it, and the matrix of best scores
    (Huh et al. 2024, figure 3) beside them. Two models that cannot be ranked are listed with the reason.

    Raises StructureError where no two can.
    """
    began = time.perf_counter()
    options, between = request.options, request.between
    limits = ComputeSettings(context.device, request.memory, request.compute, context.on_event)
    sides, pairs = _pairs(request, context)
    cells, failed = [], []
    for done, (first, second) in enumerate(pairs, start=1):
        try:
            ranked = rank_pair(context.store, first, second, options, limits)
        except MachineError:
            raise
        except StructureError as error:
            failed.append({"first": first.manifest.encoder, "second": second.manifest.encoder, "why": str(error)})
            context.note(f"{first.key} and {second.key} were not ranked: {error}")
            if len(failed) == len(pairs):
                raise
        else:
            if context.store.files.writable:
                ranked.similarity.save(ranked.files())
            cells.append(ModelPair.of(ranked.similarity.ranking, ranked.similarity.folder.name))
        context.on_event(Progress("pairs of models", done, len(pairs), "pairs"))
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
        context.store.folder("rankings", f"{manifest.dataset}.{manifest.split}.{between}.{options.metric}"),
    )
    if context.may_save("the ranking of models"):
        similarity.save()
    return similarity


def _pairs(
    request: RankModelsRequest, context: RunContext
) -> tuple[list[list[FeatureSet]], list[tuple[FeatureSet, FeatureSet]]]:
    return choose_models(
        context.store,
        dataset=request.dataset,
        split=request.split,
        vision=request.vision,
        text=request.text,
        between=request.between,
    )


rank_models = keyword_form(
    "rank_models", RankModelsRequest, run, plan, about="The best layer pair of every two models, and their matrix."
)
