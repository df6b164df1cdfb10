"""Many training runs at once: their flags, and the tables that tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structure.cli.terminal import Terminal
from structure.cli.training import axis, counts, logged
from structure.store.errors import UsageError

if TYPE_CHECKING:
    from structure.pipeline.sweep import Sweep

CURVE_TEST = 0.2
"""Share of the pairs that a curve holds back: validation pairs differ between its points, test pairs do not."""
HIDDEN = ("loss", "R_S_vision", "R_S_text")


def run_sweep(
    layers: str,
    terminal: Terminal,
    where: dict[str, Any],
    *,
    grid: Sequence[str],
    seeds: str | None,
    first_seed: int | None,
    compare: str | None,
    curve: str | None,
    suite: str | None,
    test: float | None,
    name: str | None,
    tensorboard: Path | None,
) -> None:
    """Train them all and show means, paired differences and label efficiency."""
    from structure.pipeline.sweep import sweep

    axes: dict[str, list[Any]] = {}
    for text in grid:
        key, values = axis("--grid", text)
        if key in axes:
            raise UsageError(f"--grid {key} is given twice.")
        axes[key] = values
    compared = None if compare is None else axis("--compare", compare)
    if compared and compared[0] in axes:
        raise UsageError(f"{compared[0]} is in --grid and in --compare; one of them is enough.")
    share = test if test is not None else CURVE_TEST if curve else 0.0
    with terminal.working() as listener, logged(listener, tensorboard) as telling:
        done = sweep(
            layers,
            grid=axes,
            compare=compared,
            curve=() if curve is None else counts("--curve", curve),
            seeds=which_seeds(seeds, first_seed),
            suite=suite,
            name=name or "sweep",
            test=share,
            on_event=telling,
            **where,
        )
    if terminal.as_json:
        terminal.document(done.to_json())
        return
    show(terminal, done)


def how_many(
    *, grid: Sequence[str], seeds: str | None, first_seed: int | None, compare: str | None, curve: str | None
) -> int:
    """The training runs that these flags ask for."""
    from structure.pipeline.sweep import variants_of

    axes = dict(axis("--grid", text) for text in grid)
    compared = None if compare is None else axis("--compare", compare)
    points = () if curve is None else counts("--curve", curve)
    return len(variants_of(axes, compared, points)) * len(which_seeds(seeds, first_seed))


def first_layers(layers: str, *, grid: Sequence[str], compare: str | None) -> str:
    """The layers of the first run that these flags ask for."""
    axes = dict(axis("--grid", text) for text in [*grid, *([compare] if compare else [])])
    return str(axes.get("layers", [layers])[0])


def which_seeds(text: str | None, first: int | None) -> list[int]:
    """`5` is five seeds from `first` (1 by default) on, `1,42,55` are those; without both it is one."""
    if text is None:
        return [42 if first is None else first]
    if "," in text:
        if first is not None:
            raise UsageError("--seeds with commas says which seeds; leave out --seed.")
        return counts("--seeds", text)
    (number,) = counts("--seeds", text)
    start = 1 if first is None else first
    return list(range(start, start + number))


def show(terminal: Terminal, done: Sweep) -> None:
    """Tables for a reader."""
    from structure.pipeline.metrics.intervals import holds_zero

    several = len(done.seeds) > 1
    rows = [
        {
            "variant": row.variant,
            "data": row.dataset,
            "metric": row.metric,
            "mean": f"{row.value:.3f}" + (f" [{row.low:.3f}, {row.high:.3f}]" if several else ""),
            "chance": row.chance,
        }
        for row in done.means
        if row.metric not in HIDDEN
    ]
    title = f"Means over {len(done.seeds)} seeds with 95 % intervals" if several else "One seed: no interval"
    terminal.table(rows, ["variant", "data", "metric", "mean", "chance"], title=title)
    if done.differences:
        told = [
            {
                "first": row.first,
                "minus second": row.second,
                "data": row.dataset,
                "metric": row.metric,
                "difference": f"{row.value:+.3f}" + (f" [{row.low:+.3f}, {row.high:+.3f}]" if several else ""),
                "": "" if holds_zero(row.low, row.high) else "*",
            }
            for row in done.differences
            if row.metric not in HIDDEN
        ]
        terminal.table(told, list(told[0]), title="Paired differences (* = the interval does not hold zero)")
    if done.efficiency:
        shown = [
            {
                "variant": row["variant"],
                "baseline": row["baseline"],
                "data": row["dataset"],
                "metric": row["metric"],
                "pairs": "mean" if row["pairs"] is None else f"{row['pairs']:,}",
                "U": f"{row['bound']} {row['U']:+.2f}".strip(),
            }
            for row in done.efficiency
        ]
        terminal.table(shown, list(shown[0]), title="Label efficiency U = N^ / N - 1")
    for row in done.failed:
        terminal.say(f"Not trained: {row['variant']}. {row['why']}")
    if not several:
        terminal.say("One seed says nothing about the spread: pass --seeds 5 for intervals.")
    for variant, rates in done.rates.items():
        told_rates = {f"{rate:.3g}" for rate in rates if rate is not None}
        if told_rates:
            terminal.say(f"{variant}: learning rate {', '.join(sorted(told_rates))}")
    terminal.say(f"{sum(len(names) for names in done.aligners.values())} aligners in {done.seconds:.0f} s.")
