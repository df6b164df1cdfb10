"""What extraction costs: one pass of every sample through each model, and every layer written."""

from __future__ import annotations

from structure.pipeline.cost_model.measured_rates import MeasuredRates
from structure.pipeline.cost_model.model_size import PARAMETER_BYTES, ModelSize
from structure.pipeline.cost_model.quantity import Quantity, unknown
from structure.pipeline.cost_model.step_cost import StepCost
from structure.pipeline.cost_model.workload import Workload

UTILISATION = 0.3
"""Share of a device's peak that a forward pass reaches, assumed: PaLM's training reached 46 % (arXiv 2204.02311, table
3), and small batches, decoding and storing take their part."""

BUNDLED = {"vision": "bundled:scenes-vit", "text": "bundled:scenes-text"}
"""Models whose rate on one core was measured."""


def extraction_terms(rows: int, operations: float) -> dict[str, float]:
    """What the time of `extract` grows with."""
    return {"start": 1, "rows": rows, "operations": operations}


def extraction(workload: Workload, rates: MeasuredRates) -> list[StepCost]:
    """One step for each model."""
    return [_of_model(workload, model, rates) for model in workload.models]


def _of_model(workload: Workload, model: ModelSize, rates: MeasuredRates) -> StepCost:
    weights = model.parameters * PARAMETER_BYTES
    shard = model.shard_rows(workload.rows) * model.row_bytes
    return StepCost(
        step="extract",
        way=model.name,
        disk=Quantity(model.disk(workload.rows), "formula"),
        memory=Quantity(weights + shard, "formula", "weights and one shard; activations of a batch come on top"),
        seconds=_seconds(workload, model, rates),
        is_shared=True,
        note=f"{len(model.columns)} layers, {model.row_bytes:,} bytes a row",
    )


def _seconds(workload: Workload, model: ModelSize, rates: MeasuredRates) -> Quantity:
    machine, rows = workload.machine, workload.rows
    if model.name in machine.rates:
        rate = machine.rates[model.name]
        return Quantity(rows / rate, "formula", f"{rate:,g} samples a second, as --rate says")
    operations = model.operations(rows)
    if operations.value is not None and machine.flops is not None:
        share = f"{UTILISATION:.0%} of {machine.flops:.3g} operations a second"
        return operations.times(1 / (UTILISATION * machine.flops), basis="assumed", about=share)
    if operations.value is not None and machine.device == "cpu":
        terms = extraction_terms(rows, operations.value)
        cpu = rates.step("extract").time(terms, rows=rows)
        rough = "operations at the rate of the bundled encoders on one core"
        return cpu.times(1, basis="assumed", about="; ".join(filter(None, (operations.about, rough))))
    wanted = f"give --rate {model.name}=SAMPLES_PER_SECOND"
    more = operations.about if operations.value is None else ""
    if operations.value is not None:
        wanted += ", or --flops of the device"
    return unknown("; ".join(filter(None, (wanted, more, _bundled(model, rates)))))


def _bundled(model: ModelSize, rates: MeasuredRates) -> str:
    """How fast the bundled encoder of the modality is on one core, where it was measured."""
    name = BUNDLED.get(model.modality, "")
    checks = [check for check in rates.step("extract").checks if name and check.run.startswith(name)]
    if not checks:
        return ""
    largest = max(checks, key=lambda check: check.rows)
    return f"{name}, a small model, does {largest.rows / largest.seconds:,.0f} samples a second on one core"
