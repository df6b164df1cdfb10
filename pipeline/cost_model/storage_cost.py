"""What the store costs: the sample index, importing features that are there already, and checking every byte."""

from __future__ import annotations

from structure.pipeline.cost_model.measured_rates import MeasuredRates
from structure.pipeline.cost_model.quantity import Quantity
from structure.pipeline.cost_model.step_cost import StepCost
from structure.pipeline.cost_model.workload import Workload


def byte_terms(rows: int, size: float) -> dict[str, float]:
    """What the time of `import` and of `store verify` grows with: rows, and bytes of features."""
    return {"start": 1, "rows": rows, "bytes": size}


def storage(workload: Workload, rates: MeasuredRates) -> list[StepCost]:
    """The files beside the features, `import` in the place of `extract`, and `store verify`."""
    rows, models = workload.rows, workload.models
    index = rows * (rates.index_bytes + rates.ids_bytes * len(models))
    files = sum(model.files(rows) for model in models)
    importing, verifying = rates.step("import"), rates.step("store verify")
    sizes = [model.disk(rows) for model in models]
    times = [importing.time(byte_terms(rows, size), rows=rows) for size in sizes]
    total = sum(time.value or 0.0 for time in times)
    return [
        StepCost(
            step="store",
            way="sample index and ids",
            disk=Quantity(index, "measured", rates.rows_had),
            seconds=Quantity(0.0, "formula", "written by extract and import"),
            note=f"{files:,} chunks and markers hold the features",
        ),
        StepCost(
            step="import",
            way="from files, in the place of extract",
            disk=Quantity(sum(sizes), "formula"),
            memory=importing.peak(byte_terms(rows, max(sizes)), rows=rows),
            seconds=Quantity(total, times[0].basis, times[0].about),
            note="memory is that of .npz files, which are read whole; an .npy is read in blocks",
        ),
        StepCost(
            step="store verify",
            way="every byte",
            memory=verifying.peak(byte_terms(rows, sum(sizes)), rows=rows),
            seconds=verifying.time(byte_terms(rows, sum(sizes)), rows=rows),
        ),
    ]
