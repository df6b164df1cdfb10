"""Stage 2: score every pair of a vision and a text layer over the store, test the best by permutations, and choose."""

from __future__ import annotations

import time
from dataclasses import replace

from structure.pipeline.forecast.estimate import estimate_forecast
from structure.pipeline.forecast.forecast import forecast
from structure.pipeline.keyword_form import keyword_form
from structure.pipeline.pairing.pairs import choose_sets
from structure.pipeline.ranking.compute_settings import ComputeSettings
from structure.pipeline.ranking.estimate import estimate_tables
from structure.pipeline.ranking.rank_pair import rank_pair
from structure.pipeline.run_context import RunContext
from structure.pipeline.similarity.layer_similarity import LayerSimilarity
from structure.pipeline.stage_requests import RankRequest
from structure.pipeline.work_estimate import WorkEstimate
from structure.store import FeatureSet


def plan(request: RankRequest, context: RunContext) -> list[WorkEstimate]:
    """The neighbour tables of each side that are to be searched (cached ones are not), and the fits of the forecast.
    Raises as `run` does."""
    sets = _sets(request, context)
    tables = estimate_tables(context, [sets], request.options, memory=request.memory)
    return tables + (estimate_forecast(context.store, sets) if request.forecast else [])


def run(request: RankRequest, context: RunContext) -> LayerSimilarity:
    """Rank, forecast, and save both where the store can be written. Raises StructureError for too few rows, or layers
    that are all constant."""
    sets = _sets(request, context)
    limits = ComputeSettings(context.device, request.memory, request.compute, context.on_event)
    ranked = rank_pair(context.store, *sets, request.options, limits)
    if request.forecast:
        began, similarity = time.perf_counter(), ranked.similarity
        made = forecast(context.store, sets, similarity.best(), seed=request.seed, on_event=context.on_event)
        seconds = similarity.ranking["seconds"] + time.perf_counter() - began
        ranked = replace(ranked, similarity=similarity.describe(forecast=made.to_dict(), seconds=seconds))
    if context.may_save("the ranking"):
        ranked.save()
    return ranked.similarity


def _sets(request: RankRequest, context: RunContext) -> tuple[FeatureSet, FeatureSet]:
    return choose_sets(
        context.store,
        dataset=request.dataset,
        split=request.split,
        vision=request.vision,
        text=request.text,
        one_modality=True,
        instead=", or rank every two of them with --all",
    )


rank_layers = keyword_form(
    "rank_layers", RankRequest, run, plan, about="Score every pair of a vision and a text layer, and choose one."
)
