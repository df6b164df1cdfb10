"""What changes at a number of rows, in sentences: the choices that a small set does not ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from structure.pipeline.aligners.registry import ALIGNERS
from structure.pipeline.cost_model.measured_rates import MeasuredRates
from structure.pipeline.cost_model.shown import shown_bytes, shown_time
from structure.pipeline.cost_model.step_cost import StepCost
from structure.pipeline.cost_model.training_cost import PlannedFit, held_bytes
from structure.pipeline.cost_model.workload import Workload

DAY, LONG_QUERY, MANY_FILES = 86_400.0, 1.0, 1_000_000


def changes(workload: Workload, steps: Sequence[StepCost], rates: MeasuredRates) -> Iterator[str]:
    """The sentences for this number of rows."""
    by_way = {(step.step, step.way): step for step in steps}
    yield from _extraction(workload, steps)
    if workload.pair is not None:
        yield from _ranking(by_way, rates)
        yield from _training(workload)
        yield from _search(by_way)


def _extraction(workload: Workload, steps: Sequence[StepCost]) -> Iterator[str]:
    workers = workload.machine.workers
    for step in steps:
        seconds = step.elapsed(workers).value
        if step.step == "extract" and seconds is not None and seconds > DAY:
            yield (
                f"extract {step.way} takes {shown_time(seconds)} on {workers} worker{'s' if workers > 1 else ''}: "
                "start the same command once for each device on one store, or run it on a dask cluster with "
                "--scheduler."
            )
    files = sum(model.files(workload.rows) for model in workload.models)
    if files > MANY_FILES:
        yield (
            f"The features are {files:,} files: fewer --layers make fewer, and a bucket (--store s3://...) counts no "
            "inodes."
        )


def _ranking(by_way: dict[tuple[str, str], StepCost], rates: MeasuredRates) -> Iterator[str]:
    whole = by_way.get(("rank-layers", "--samples all"))
    if whole is None:
        return
    seen = rates.sampled_ranking
    lost = f", at a loss of {seen.regret:.4f} at most elsewhere" if seen.same_best < seen.draws else ""
    yield (
        f"rank-layers compares a sample. Of {seen.rows:,} rows, {seen.draws} samples of {seen.samples:,} gave scores "
        f"with a standard error of {seen.standard_error:.4f} at most, a rank correlation of "
        f"{seen.rank_correlation:.3f} with the scores by all rows, and the best layer pair of all rows in "
        f"{seen.same_best} of {seen.draws}{lost} (measured). The error depends on the sample, not on the rows. "
        f"--samples all takes {shown_time(whole.seconds.value)} of one core, or tasks of a dask cluster with "
        "--scheduler."
    )


def _training(workload: Workload) -> Iterator[str]:
    pair = workload.pair
    assert pair is not None
    held = held_bytes((pair[0].widths[-1], pair[1].widths[-1]), workload.rows)
    memory = workload.machine.memory
    if memory is not None and held <= memory:
        return
    streaming = ", ".join(name for name in ALIGNERS if PlannedFit(name).streams)
    limit = "Give --memory to see whether they fit" if memory is None else f"--memory allows {shown_bytes(memory)}"
    yield (
        f"Two layers of these rows, with a copy of those that train, take {shown_bytes(held)} in memory. {limit}; with "
        f"--regulariser none these methods read rows in passes, in bounded memory: {streaming}."
    )


def _search(by_way: dict[tuple[str, str], StepCost]) -> Iterator[str]:
    exact = by_way["search", "exact"].seconds.value or 0.0
    if exact > LONG_QUERY:
        yield (
            f"An exact search takes {shown_time(exact)} a query on one core: structure index answers in milliseconds, "
            "and prints its recall against exact search."
        )
