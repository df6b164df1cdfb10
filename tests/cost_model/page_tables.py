"""The tables of docs/scale.md, from the rates in the package: `python -m tests.cost_model.page_tables` writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from structure.cli.plan import side_by_side
from structure.pipeline.cost_model.measured_rates import MeasuredRates, measured_rates
from structure.pipeline.cost_model.model_size import model_size
from structure.pipeline.cost_model.plan import plan_costs
from structure.pipeline.cost_model.shown import shown_bytes, shown_time
from structure.pipeline.cost_model.workload import MODELS, ROWS, Machine, Workload

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
BLOCK = re.compile(r"(<!-- (rates|checks|plan|sampled) -->\n).*?(<!-- end -->)", re.DOTALL)
UNITS = {
    "start": ("a command", 1.0, "s"),
    "rows": ("a million rows", 1e6, "s"),
    "bytes": ("a GB", 1e9, "s"),
    "held": ("a GB of rows", 1e9, "s"),
    "operations": ("10^12 operations", 1e12, "s"),
    "overlaps": ("10^9 neighbours x layer pairs", 1e9, "s"),
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def rates_table(rates: MeasuredRates) -> str:
    rows = []
    for step in rates.steps:
        times = [f"{value * UNITS[name][1]:.3g} s {UNITS[name][0]}" for name, value in step.seconds.items() if value]
        sizes = [
            f"{shown_bytes(value * UNITS[name][1])} {UNITS[name][0]}" for name, value in step.memory.items() if value
        ]
        rows.append((f"`{step.name}`", ", ".join(times), ", ".join(sizes), f"{step.most_rows():,}"))
    return table(("step", "seconds of one core", "memory", "measured up to, rows"), rows)


def checks_table(rates: MeasuredRates) -> str:
    rows = []
    for step in rates.steps:
        for check in step.checks:
            memory = (shown_bytes(check.memory), shown_bytes(check.memory_by_formula)) if check.memory else ("", "")
            times = shown_time(check.seconds), shown_time(check.seconds_by_formula), f"{check.ratio:.2f}"
            rows.append(
                (f"`{step.name}`", f"{check.rows:,}", check.run, *times, *memory, "yes" if check.fitted else "**no**")
            )
    head = ("step", "rows", "run", "measured", "formula", "ratio", "memory measured", "memory by formula", "in the fit")
    return table(head, rows)


def plan_table() -> str:
    models = tuple(model_size(name) for name in MODELS)
    plans = [plan_costs(Workload(rows=rows, models=models, machine=Machine())) for rows in ROWS]
    columns = [f"{rows:,} pairs" for rows in ROWS]
    rows = [
        (f"`{row['step']}`", row["way"], *(row.get(name, "").partition(": give")[0] for name in columns))
        for row in side_by_side(plans)
    ]
    return table(("step", "way", *columns), rows)


def sampled_table(rates: MeasuredRates) -> str:
    seen = rates.sampled_ranking
    rows = [
        ("standard error of a score over draws (largest of the layer pairs)", f"{seen.standard_error:.4f}"),
        ("rank correlation of the scores with those of all rows (mean)", f"{seen.rank_correlation:.3f}"),
        ("draws that choose the best layer pair of all rows", f"{seen.same_best} of {seen.draws}"),
        ("gap between the best two layer pairs, by all rows", f"{seen.gap:.4f}"),
        ("loss of a draw's choice, by all rows (largest)", f"{seen.regret:.4f}"),
    ]
    return table((f"{seen.samples:,} of {seen.rows:,} rows, {seen.layer_pairs} layer pairs", "measured"), rows)


def tables() -> Mapping[str, str]:
    """The tables by the name of their place in the page."""
    rates = measured_rates()
    return {
        "rates": rates_table(rates),
        "checks": checks_table(rates),
        "plan": plan_table(),
        "sampled": sampled_table(rates),
    }


def filled(page: str) -> str:
    """The page with its tables."""
    made = tables()
    return BLOCK.sub(lambda match: f"{match[1]}{made[match[2]]}\n{match[3]}", page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
