"""What ranking costs: the neighbours of every layer of both sides, and all layer pairs from them."""

from __future__ import annotations

from structure.pipeline.cost_model.measured_rates import MeasuredRates
from structure.pipeline.cost_model.model_size import ModelSize
from structure.pipeline.cost_model.quantity import Quantity
from structure.pipeline.cost_model.step_cost import StepCost
from structure.pipeline.cost_model.workload import Workload
from structure.pipeline.ranking.options import RankingOptions
from structure.pipeline.similarity.k_rules import k_of
from structure.pipeline.similarity.knn.search_size import held_bytes, repeat_operations, search_operations, table_bytes
from structure.pipeline.stage_requests.rank import SEARCH_MEMORY


def ranking_terms(
    rows: int, ranked: int, vision: tuple[int, ...], text: tuple[int, ...], *, memory: int = SEARCH_MEMORY
) -> dict[str, float]:
    """What the time of `rank-layers` grows with, for `ranked` of `rows` samples and the widths of the layers of both
    sides: opening the sample index, products of all ranked rows and of the subsets on which the choice is repeated,
    neighbours that layer pairs share, and bytes that are held: the rows of a layer within `memory`, and all tables."""
    widths, k = (*vision, *text), neighbours_of(ranked)
    repeated = repeat_operations(ranked, widths, repeats=RankingOptions().repeats)
    return {
        "start": 1,
        "rows": rows,
        "operations": search_operations(ranked, widths) + repeated,
        "overlaps": ranked * k * len(vision) * len(text),
        "bytes": min(memory, held_bytes(ranked, max(widths))) + table_bytes(len(widths), ranked, k),
    }


def neighbours_of(ranked: int) -> int:
    """k of the default rule; of a handful of rows as many as there are others."""
    return k_of(RankingOptions().rule, ranked) if ranked > 35 else max(1, ranked - 1)


def ranking(workload: Workload, rates: MeasuredRates) -> list[StepCost]:
    """By a sample, as it is by default, and by all rows."""
    if workload.pair is None:
        return []
    usual = RankingOptions()
    ranked = min(usual.most_rows or workload.rows, workload.rows)
    steps = [_ranking(workload, workload.pair, rates, ranked, way=f"{ranked:,} rows, the default")]
    if ranked < workload.rows:
        steps.append(_ranking(workload, workload.pair, rates, workload.rows, way="--samples all"))
    return steps


def _ranking(
    workload: Workload, pair: tuple[ModelSize, ModelSize], rates: MeasuredRates, ranked: int, *, way: str
) -> StepCost:
    vision, text = pair
    measured = rates.step("rank-layers")
    kind = "all" if ranked == workload.rows else ""
    k, layers = neighbours_of(ranked), len(vision.columns) + len(text.columns)
    memory = workload.machine.memory or SEARCH_MEMORY
    terms = ranking_terms(workload.rows, ranked, vision.widths, text.widths, memory=memory)
    return StepCost(
        step="rank-layers",
        way=way,
        disk=Quantity(table_bytes(layers, ranked, k), "formula"),
        memory=measured.peak(terms, rows=workload.rows, kind=kind),
        seconds=measured.time(terms, rows=workload.rows, kind=kind),
        is_shared=True,
        note=f"{len(vision.columns)} x {len(text.columns)} layer pairs, k = {k}",
    )
