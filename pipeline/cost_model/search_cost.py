"""What a search costs: comparing a query with all rows, or walking an index that is built once."""

from __future__ import annotations

from structure.pipeline.cost_model.measured_rates import MeasuredRates
from structure.pipeline.cost_model.quantity import Quantity
from structure.pipeline.cost_model.step_cost import StepCost
from structure.pipeline.cost_model.training_cost import LINEAR
from structure.pipeline.cost_model.workload import Workload
from structure.pipeline.inference.embedding_records import COLUMN, DTYPE
from structure.pipeline.inference.index_kinds import KINDS, IndexKind
from structure.store.column_layout import Column

INDEXES = ("hnsw", "ivf")
"""Kinds of index that are planned."""


def exact_terms(size: float) -> dict[str, float]:
    """What the time of one query grows with: bytes of all embeddings."""
    return {"start": 1, "bytes": size}


def building_terms(kind: IndexKind, rows: int, dim: int) -> dict[str, float]:
    """What the time of building an index grows with: rows, and their products with what each is compared with."""
    return {"rows": rows, "operations": dim * kind.comparisons(rows)}


def search(workload: Workload, rates: MeasuredRates) -> list[StepCost]:
    """Among the embeddings of one side of a linear aligner."""
    if workload.pair is None:
        return []
    rows = workload.rows
    vision, text = (model.columns[-1].width for model in workload.pair)
    dim = LINEAR.dim((vision, text), rows)
    size = rows * Column(COLUMN, dim, DTYPE).vector_bytes
    exact = StepCost(
        step="search",
        way="exact",
        each="query",
        disk=Quantity(size, "formula"),
        memory=Quantity(size, "formula", "read in place: what does not fit is read from the disk for every query"),
        seconds=rates.step("search").time(exact_terms(size), rows=rows),
        note=f"embeddings of {dim} numbers, {DTYPE}, which the first search saves",
    )
    return [exact, *(_index(KINDS[name], rows, dim, rates) for name in INDEXES)]


def _index(kind: IndexKind, rows: int, dim: int, rates: MeasuredRates) -> StepCost:
    size = rows * kind.bytes_per_row(dim)
    return StepCost(
        step="index",
        way=f"--kind {kind.name}",
        disk=Quantity(size, "formula"),
        memory=Quantity(size, "formula"),
        seconds=rates.step(f"index {kind.name}").time(building_terms(kind, rows, dim), rows=rows),
        note=kind.meaning,
    )
