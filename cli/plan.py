"""`structure plan`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from structure.cli import completion
from structure.cli.choices import byte_count, count_or
from structure.cli.flags import OutputFlags, takes_flags
from structure.store.errors import UsageError

if TYPE_CHECKING:
    from structure.pipeline.cost_model.measured_rates import MeasuredRates
    from structure.pipeline.cost_model.plan import CostPlan
    from structure.pipeline.cost_model.workload import Machine


@dataclass(frozen=True, kw_only=True)
class CostFlags(OutputFlags):
    """For which rows and models, and what is known of the machines."""

    rows: Annotated[
        str | None,
        typer.Option(help="Number of pairs, such as 400k or 15M; without it 100k, 1M, 15M and 400M side by side."),
    ] = None
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model, as in extract; repeat it. dinov2 and roberta by default.", autocompletion=completion.models
        ),
    ] = None
    layers: Annotated[str, typer.Option(help="Stored layers of each model: all, or the last N.")] = "all"
    device: Annotated[
        str,
        typer.Option(help="cpu: extraction from the rate of the bundled encoders. auto, cuda: from --rate or --flops."),
    ] = "auto"
    rate: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL=N", help="Samples a second that a model encodes on one worker; repeat it."),
    ] = None
    flops: Annotated[
        str | None,
        typer.Option(help="Peak operations a second of one device, such as 300T: the time of models without --rate."),
    ] = None
    price_per_hour: Annotated[float | None, typer.Option(min=0, help="Of one worker, in your currency.")] = None
    memory: Annotated[str | None, typer.Option(help="Of one worker, such as 16GB: what does not fit is told.")] = None
    workers: Annotated[
        int, typer.Option(min=1, help="Processes, devices or dask workers that share extract and rank-layers.")
    ] = 1


@takes_flags
def plan(flags: CostFlags) -> None:
    """Print what a pipeline costs for so many pairs: bytes, time, memory, money. Needs no store, no data, no network.

    Example: structure plan --rows 15M --model dinov2 --model roberta
    """
    from structure.pipeline.cost_model.measured_rates import measured_rates
    from structure.pipeline.cost_model.model_size import model_size
    from structure.pipeline.cost_model.plan import plan_costs
    from structure.pipeline.cost_model.workload import MODELS, ROWS, Workload

    terminal, machine = flags.terminal(), _machine(flags)
    layers = count_or("--layers", flags.layers, ("all",))
    models = tuple(model_size(name, layers=None if layers == "all" else layers) for name in flags.model or MODELS)
    counts = ROWS if flags.rows is None else (_count(flags.rows),)
    plans = [plan_costs(Workload(rows=rows, models=models, machine=machine)) for rows in counts]
    rates = measured_rates()
    if flags.as_json:
        terminal.document(
            {
                "models": [{"name": m.name, "layers": len(m.columns), "row_bytes": m.row_bytes} for m in models],
                "workers": machine.workers,
                "price_per_hour": machine.price,
                "measured": {"processor": rates.processor, "date": rates.date, "command": rates.command},
                "plans": [each.to_dict() for each in plans],
            }
        )
        return
    if len(plans) == 1:
        columns = ["step", "way", "disk", "memory", "time", *(["cost"] if machine.price is not None else []), "basis"]
        terminal.table(_rows(plans[0]), columns, title=f"{counts[0]:,} pairs of {', '.join(m.name for m in models)}")
        for sentence in plans[0].changes:
            terminal.say(f"- {sentence}")
    else:
        terminal.table(side_by_side(plans), ["step", "way", *(f"{rows:,} pairs" for rows in counts)])
    _tell(terminal.say, rates, machine, plans)


def amount(option: str, value: str) -> float:
    """`15M`, `400k`, `1.5B`, `300T` or a plain number. Raises UsageError for anything else, and below 1."""
    match = re.fullmatch(r"\s*(\d[\d_,]*(?:\.\d+)?(?:e\d+)?)\s*([kmbgt]?)\s*", value, re.IGNORECASE)
    if match is None:
        raise UsageError(f"{option} {value!r} is not a number. Write 15000000, 15M or 400k.")
    number, letter = match.groups()
    power = {"": 0, "k": 3, "m": 6, "b": 9, "g": 9, "t": 12}[letter.lower()]
    count: float = float(re.sub("[_,]", "", number)) * 10.0**power
    if not 1 <= count < math.inf:
        raise UsageError(f"{option} {value} is {count:g}; it must be a number from 1.")
    return count


def _count(rows: str) -> int:
    """A whole number of rows. Raises UsageError."""
    count = amount("--rows", rows)
    if count != int(count):
        raise UsageError(f"--rows {rows} is {count:g}; it must be a whole number.")
    return int(count)


def _machine(flags: CostFlags) -> Machine:
    from structure.pipeline.cost_model.workload import Machine

    return Machine(
        device=flags.device,
        rates=_rates(flags.rate or ()),
        flops=None if flags.flops is None else amount("--flops", flags.flops),
        price=flags.price_per_hour,
        memory=None if flags.memory is None else byte_count("--memory", flags.memory),
        workers=flags.workers,
    )


def _rates(given: Sequence[str]) -> dict[str, float]:
    """`MODEL=N` as a mapping. Raises UsageError."""
    found = {}
    for text in given:
        name, equals, number = text.rpartition("=")
        try:
            rate = float(number)
        except ValueError:
            rate = 0.0
        if not (equals and name) or not 0 < rate < float("inf"):
            raise UsageError(f"--rate {text!r} is not MODEL=SAMPLES_PER_SECOND. Write --rate dinov2=250.")
        found[name] = rate
    return found


def _rows(plan: CostPlan) -> list[dict[str, Any]]:
    """One row for each step."""
    from structure.pipeline.cost_model.shown import shown_bytes, shown_time

    machine, rows = plan.workload.machine, []
    for step in plan.steps:
        time, money = step.elapsed(machine.workers), step.money(machine.price)
        known = {"disk": step.disk, "memory": step.memory, "time": time}
        basis = {name: quantity.basis for name, quantity in known.items() if quantity.value != 0}
        per = f" a {step.each}" if step.each else ""
        rows.append(
            {
                "step": step.step,
                "way": step.way,
                "disk": shown_bytes(step.disk.value),
                "memory": shown_bytes(step.memory.value),
                "time": f"{shown_time(time.value)}{per if time.value else ''}",
                "cost": "" if money is None else "unknown" if money.value is None else f"{money.value:,.2f}{per}",
                "basis": ", ".join(f"{name} {basis}" for name, basis in basis.items()),
            }
        )
    return rows


def side_by_side(plans: Sequence[CostPlan]) -> list[dict[str, Any]]:
    """Time and disk of each step, a column for each number of rows. A small one has no other way to rank."""
    from structure.pipeline.cost_model.shown import shown_bytes, shown_time

    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for plan in plans:
        for step in plan.steps:
            time = step.elapsed(plan.workload.machine.workers).value
            cell = [] if time == 0 else [shown_time(time) + (f" a {step.each}" if step.each and time else "")]
            cell += [shown_bytes(step.disk.value)] if step.disk.value else []
            row = rows.setdefault((step.step, step.way), {"step": step.step, "way": step.way})
            row[f"{plan.workload.rows:,} pairs"] = ", ".join(cell)
    return list(rows.values())


def _tell(say: Any, rates: MeasuredRates, machine: Machine, plans: Sequence[CostPlan]) -> None:
    """Where the numbers come from, and what is not known."""
    from structure.pipeline.cost_model.measured_rates import BEYOND

    say(
        f"measured: seconds of one core of {rates.processor}, {rates.date}, by {rates.command}. formula: sizes, or a "
        "measured rate beyond the rows of its checks. docs/scale.md says how near the formulas come."
    )
    notes: dict[str, None] = {}
    abouts: dict[tuple[str, str], dict[str, None]] = {}
    for plan in plans:
        for step in plan.steps:
            name, time = f"{step.step} {step.way}", step.elapsed(machine.workers)
            if step.note and len(plans) == 1:
                notes[f"{name}: {step.note}."] = None
            for about in time.about.split("; ") if time.basis in ("assumed", "unknown") else ():
                abouts.setdefault((time.basis, about), {})[name] = None
    for note in notes:
        say(note)
    for (basis, about), names in abouts.items():
        if not about.startswith(BEYOND):
            say(f"time {basis}, {about}: {', '.join(names)}.")
