"""The plan of a workload: the cost of every step, and what changes at its number of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from structure.pipeline.cost_model.changes import changes
from structure.pipeline.cost_model.extraction_cost import extraction
from structure.pipeline.cost_model.measured_rates import MeasuredRates, measured_rates
from structure.pipeline.cost_model.ranking_cost import ranking
from structure.pipeline.cost_model.search_cost import search
from structure.pipeline.cost_model.step_cost import StepCost
from structure.pipeline.cost_model.storage_cost import storage
from structure.pipeline.cost_model.training_cost import training
from structure.pipeline.cost_model.workload import Workload

STAGES: tuple[Callable[[Workload, MeasuredRates], list[StepCost]], ...] = (
    extraction,
    storage,
    ranking,
    training,
    search,
)


@dataclass(frozen=True)
class CostPlan:
    """What a workload costs, step by step, and in sentences what changes at its scale."""

    workload: Workload
    steps: tuple[StepCost, ...]
    changes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        machine = self.workload.machine
        return {
            "rows": self.workload.rows,
            "steps": [step.to_dict(workers=machine.workers, price=machine.price) for step in self.steps],
            "changes": list(self.changes),
        }


def plan_costs(workload: Workload, rates: MeasuredRates | None = None) -> CostPlan:
    """The plan at these rates (by default those that were measured)."""
    rates = rates or measured_rates()
    steps = tuple(step for stage in STAGES for step in stage(workload, rates))
    return CostPlan(workload, steps, tuple(changes(workload, steps, rates)))
