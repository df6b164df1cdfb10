"""Stage 2: score every pair of a vision and a text layer over the store, test the best by permutations, and choose."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

from structure.pipeline.charts import DrawingProcess, draw_here
from structure.pipeline.keyword_form import keyword_form
from structure.pipeline.pairing.pairs import choose_sets
from structure.pipeline.ranking.made_from import made_from
from structure.pipeline.run_context import RunContext
from structure.pipeline.similarity.knn.search_size import search_operations
from structure.pipeline.similarity.layer_similarity import LayerSimilarity, made_before, ranking_id
from structure.pipeline.stage_requests.rank import RankRequest
from structure.pipeline.work_estimate import WorkEstimate
from structure.store import FeatureSet
from structure.store.files import Files

QUICK = 1e13
"""Operations of a search that takes no hours anywhere: these are not timed by a probe before they begin."""


def plan(request: RankRequest, context: RunContext) -> list[WorkEstimate]:
    """The neighbour tables of each side that are to be searched, of all rows and of subsets (cached ones are not), the
    permutation test, and the fits of the forecast; nothing where the ranking is saved. Raises as `run` does."""
    sets = _sets(request, context)
    digest = made_from(context.store, sets, request.options, forecast=request.forecast)
    if made_before(_folder(request, context, sets), digest) is not None:
        return []
    from structure.pipeline.forecast.estimate import estimate_forecast
    from structure.pipeline.ranking.estimate import estimate_ranking

    parts = estimate_ranking(context, [sets], request.options, memory=request.memory)
    return parts + (estimate_forecast(context.store, sets) if request.forecast else [])


def is_quick(request: RankRequest, context: RunContext) -> bool:
    """Whether it is no long work, from the sizes of the features alone. Raises StructureError as `run` does."""
    wanted = request.options.most_rows
    operations = 0.0
    for features in _sets(request, context):
        rows = len(features) if wanted is None else min(wanted, len(features))
        operations += search_operations(rows, (features.column(layer).width for layer in features.layers))
    return operations < QUICK


def run(request: RankRequest, context: RunContext) -> LayerSimilarity:
    """Rank, forecast, and save both where the store can be written; a ranking that is saved and was made from the same
    is read. Raises StructureError for too few rows, or layers that are all constant."""
    sets = _sets(request, context)
    # Before the values are read: a ranking during which they change is not taken for one of the new values.
    digest = made_from(context.store, sets, request.options, forecast=request.forecast)
    before = made_before(_folder(request, context, sets), digest)
    if before is not None:
        before.mark_newest(context.store)
        context.note("this ranking is saved: it was made from the same features in the same way")
        return before
    # On a core that imports and small fits leave idle; where nothing is imported, a process takes too long to start.
    apart = context.store.files.writable and "torch" not in sys.modules
    with DrawingProcess() if apart else nullcontext(draw_here) as draw, ThreadPoolExecutor(1) as beside:
        from structure.pipeline.forecast.forecast import forecast
        from structure.pipeline.ranking.compute_settings import ComputeSettings
        from structure.pipeline.ranking.rank_pair import rank_pair

        limits = ComputeSettings(context.device, request.memory, request.compute, context.on_event)
        ranked = rank_pair(context.store, *sets, request.options, limits)
        facts: dict[str, Any] = {"made_from": digest}
        may_save = context.may_save("the ranking")
        files = beside.submit(ranked.files, draw) if may_save else None
        if request.forecast:
            began, similarity = time.perf_counter(), ranked.similarity
            made = forecast(context.store, sets, similarity.best(), seed=request.seed, on_event=context.on_event)
            seconds = similarity.ranking["seconds"] + time.perf_counter() - began
            facts |= {"forecast": made.to_dict(), "seconds": seconds}
        described = ranked.similarity.describe(**facts)
        if files is not None:
            described.save(files.result())
    return described


def _folder(request: RankRequest, context: RunContext, sets: tuple[FeatureSet, FeatureSet]) -> Files:
    return context.store.folder("rankings", ranking_id(*sets, metric=request.options.metric))


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
