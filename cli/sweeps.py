"""Many training runs at once: their flags, and the tables that tell them apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from structure.cli.terminal import Terminal
from structure.cli.training import axis, counts, logged
from structure.pipeline.aligners.options import DEFAULT_METHOD
from structure.store.errors import UsageError

if TYPE_CHECKING:
    from structure.pipeline.recipe.recipe import Recipe
    from structure.pipeline.recipe.running import RecipeRun
    from structure.pipeline.recipe.sweep import Axes
    from structure.pipeline.run_context import RunContext
    from structure.pipeline.stage_requests.align import AlignRequest

MANY = "Many runs"
CURVE_TEST = 0.2
"""Test fraction of a curve: validation pairs differ between its points, test pairs do not."""
HIDDEN = ("loss", "R_S_vision", "R_S_text")
STARRED = "Paired differences (* = the interval over seeds and test samples excludes zero)"


@dataclass(frozen=True, kw_only=True)
class SweepFlags:
    """What many training runs vary."""

    grid: Annotated[
        list[str] | None, typer.Option(help="OPTION=A,B: every combination; repeat.", rich_help_panel=MANY)
    ] = None
    seeds: Annotated[
        str | None, typer.Option(help="How many, or which with commas: 1,42,55.", rich_help_panel=MANY)
    ] = None
    compare: Annotated[
        str | None,
        typer.Option(help="OPTION=A,B: paired differences at one learning rate.", rich_help_panel=MANY),
    ] = None
    curve: Annotated[
        str | None,
        typer.Option(
            help="Numbers of pairs, such as 1000,2500,5000. With several methods (--method A,B), or with 0 among "
            "them, one figure of all.",
            rich_help_panel=MANY,
        ),
    ] = None
    suite: Annotated[
        str | None, typer.Option(help="Evaluate every aligner of many on this suite.", rich_help_panel=MANY)
    ] = None

    @property
    def are_given(self) -> bool:
        """Whether many runs are asked for."""
        return bool(self.grid) or any(text is not None for text in (self.seeds, self.compare, self.curve, self.suite))

    def axes(self, layers: str) -> Axes:
        """What they vary. Raises UsageError and StructureError."""
        from structure.pipeline.recipe.sweep import Axes

        grid: dict[str, list[Any]] = {}
        for text in self.grid or ():
            key, values = axis("--grid", text)
            if key in grid:
                raise UsageError(f"--grid {key} is given twice.")
            grid[key] = values
        compare = None if self.compare is None else axis("--compare", self.compare)
        if compare and compare[0] in grid:
            raise UsageError(f"{compare[0]} is in --grid and in --compare; one of them is enough.")
        return Axes(
            layers, grid, compare, () if self.curve is None else counts("--curve", self.curve, such="1000,2500")
        )

    def recipe(
        self, layers: str, *, preset: str, training: Mapping[str, Any], name: str | None, stored: Mapping[str, Any]
    ) -> Recipe:
        """The recipe that they ask for. `training` are the options of every run, `stored` the fields of `StoredPairs`,
        `test` None where it is not given. Raises UsageError and StructureError."""
        from structure.pipeline.recipe.recipe import StoredPairs
        from structure.pipeline.recipe.sweep import sweep_recipe

        options, axes = dict(training), self.axes(layers)
        if "method" in axes.varied and options["method"] == DEFAULT_METHOD:
            del options["method"]  # it was not given
        seeds = which_seeds(self.seeds, options.pop("seed", None))
        for option, given in (("layers", layers != "auto"), ("pairs", stored["pairs"] is not None)):
            if given and (option in axes.varied or (option == "pairs" and self.curve is not None)):
                raise UsageError(f"--{option} is given for every run and varied as well. Leave one of them out.")
        held_out = CURVE_TEST if self.curve and stored["split_column"] is None else 0.0
        test = stored["test"] if stored["test"] is not None else held_out
        pairs = StoredPairs(**{**stored, "test": test})
        return sweep_recipe(
            name or "sweep", axes, preset=preset, training=options, stored=pairs, seeds=seeds, suite=self.suite
        )


def first_run(recipe: Recipe, *, name: str | None, device: str) -> AlignRequest:
    """The first run of a sweep as a request: what can be told of all of them before any is trained."""
    from structure.pipeline.aligners.options import TrainingOptions, applicable
    from structure.pipeline.stage_requests.align import AUTO, AlignRequest, published, selected

    (cell, *_), stored = recipe.cells, recipe.stored
    assert stored is not None
    training = {**recipe.training, **cell.training, "seed": recipe.seeds[0], "device": device}
    how: dict[str, Any] = (
        selected(training)
        if training.get("method") == AUTO
        else {"options": TrainingOptions.preset(recipe.preset, **applicable(published(training)))}
    )
    return AlignRequest(
        cell.layers.given,
        dataset=stored.dataset,
        split=stored.split,
        vision=stored.vision,
        text=stored.text,
        **how,
        pairs=cell.pairs or stored.pairs,
        test=stored.test,
        split_column=stored.split_column,
        memory=stored.memory,
        name=name,
        replace=True,
    )


def run_sweep(recipe: Recipe, context: RunContext, terminal: Terminal, *, tensorboard: Path | None) -> None:
    """Train them all and show means, paired differences and label efficiency. Raises Exit, with 1, where some of them
    could not be trained."""
    from dataclasses import replace

    from structure.pipeline.recipe.running import run

    with terminal.working() as listener, logged(listener, tensorboard) as on_event:
        done = run(recipe, replace(context, on_event=on_event))
    if terminal.as_json:
        terminal.document(done.to_json())
    else:
        show(terminal, done)
    if done.failed:
        raise typer.Exit(1)


def which_seeds(text: str | None, first: int | None) -> list[int]:
    """`5` is five seeds from `first` (1 by default) on, `1,42,55` are those; without both it is one."""
    if text is None:
        return [42 if first is None else first]
    seeds = counts("--seeds", text, such="5 (that many) or 1,42,55 (these)")
    if "," in text:
        if first is not None:
            raise UsageError("--seeds with commas says which seeds; leave out --seed.")
        return seeds
    (number,) = seeds
    start = 1 if first is None else first
    return list(range(start, start + number))


def show(terminal: Terminal, done: RecipeRun) -> None:
    """Tables for a reader."""
    from structure.pipeline.metrics.intervals import multiplicity, signed

    summary = done.summary
    several = len(done.seeds) > 1
    rows = [
        {
            "variant": row.variant,
            "data": row.dataset,
            "metric": row.metric,
            "mean": f"{row.value:.3f}" + (f" [{row.low:.3f}, {row.high:.3f}]" if several else ""),
            "chance": row.chance,
        }
        for row in summary.means
        if row.metric not in HIDDEN
    ]
    title = f"Means over {len(done.seeds)} seeds with 95 % intervals" if several else "One seed: no interval"
    terminal.table(rows, ["variant", "data", "metric", "mean", "chance"], title=title)
    if summary.differences:
        shown = [row for row in summary.differences if row.metric not in HIDDEN]
        differences = [
            {
                "first": row.first,
                "minus second": row.second,
                "data": row.dataset,
                "metric": row.metric,
                "difference": signed(row.value, row.low, row.high) if several else f"{row.value:+.3f}",
                "": "*" if row.is_significant else "",
            }
            for row in shown
        ]
        terminal.table(differences, list(differences[0]), title=STARRED)
        if several:
            terminal.say(multiplicity((row.low, row.high) for row in shown if row.of_test))
    if summary.efficiency:
        efficiencies = [
            {
                "variant": row["variant"],
                "baseline": row["baseline"],
                "data": row["dataset"],
                "metric": row["metric"],
                "pairs": "mean" if row["pairs"] is None else f"{row['pairs']:,}",
                "U": f"{row['bound']} {row['U']:+.2f}".strip(),
            }
            for row in summary.efficiency
        ]
        terminal.table(efficiencies, list(efficiencies[0]), title="Label efficiency U = N^ / N - 1")
    for variant, trained in done.summary.identical.items():
        terminal.say(f"{variant} is identical to {trained}: it was trained once.")
    for variant, other in done.summary.same_weights.items():
        terminal.say(f"{variant} came out as {other}, number for number, with every seed: they are one model.")
    for row in done.failed:
        terminal.say(f"Not trained: {row['variant']}. {row['why']}")
    if done.absent:
        terminal.table(list(done.absent), ["dataset", "how_to_get"], title="Not evaluated")
    if not several:
        terminal.say("One seed says nothing about the spread: pass --seeds 5 for intervals.")
    for variant, rates in summary.learning_rates.items():
        distinct = {f"{rate:.3g}" for rate in rates if rate is not None}
        if distinct:
            terminal.say(f"{variant}: learning rate {', '.join(sorted(distinct))}")
    ran = sum(outcome == "ran" for key, outcome, _ in done.steps if key.startswith("align/"))
    count = sum(len(names) for names in summary.aligners.values())
    copied = sum(len(summary.aligners[variant]) for variant in summary.identical)
    fresh = max(ran - copied, 0)
    copies = f", {copied} identical to others" if copied else ""
    terminal.say(f"{count} aligners, {fresh} of them trained now{copies} and {count - fresh - copied} cached.")
