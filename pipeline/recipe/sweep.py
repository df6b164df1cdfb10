"""A sweep is a recipe built in memory: many runs on features that the store has, over a grid, a comparison or a curve.

A comparison trains every variant with the same seeds, pairs, batches, learning rate and selection rule.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from structure.pipeline.aligners.option_effects import (
    require_effects,
    require_unpaired,
    require_use_of_unpaired,
    use_of_unpaired,
)
from structure.pipeline.aligners.options import (
    DEFAULT_METHOD,
    RENAMED,
    TrainingOptions,
    all_option_names,
    applicable,
    flagged,
    option_names,
    unknown_option,
)
from structure.pipeline.model_selection.options import SELECTION_OPTIONS
from structure.pipeline.pairing.given_splits import require_undivided
from structure.pipeline.recipe.grid import NOT_TRAINING, GridCell, LayerChoice, contrasts_along
from structure.pipeline.recipe.recipe import Encoders, Recipe, StoredPairs, named_runs
from structure.pipeline.stage_requests.align import AUTO, published
from structure.pipeline.suites.suite import load_suite
from structure.store.errors import StructureError, UsageError

BASELINE = {"layers": "last", "regulariser": "none"}
"""What label efficiency is measured against where nothing else is compared (arXiv 2506.16895, section 4); of a selected
method with `DEFAULT_METHOD`."""
SEEDS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Axes:
    """What varies between runs. Raises StructureError for an axis that is none, and a comparison of one value.

    `grid`: axis -> values; an axis is a training option, `layers` or `pairs`. `compare` is one more axis: each of its
    values is compared with each later one, at the learning rate that the first run finds. `curve` lists numbers of
    pairs; without `compare` the last layers without R_S are trained beside the choice, and U = N^ / N - 1 says how many
    more pairs they need. `layers` are those of every run that no axis gives any.
    """

    layers: str = "auto"
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    compare: tuple[str, Sequence[Any]] | None = None
    curve: Sequence[int] = ()

    def __post_init__(self) -> None:
        if self.compare and len(set(self.compare[1])) < 2:
            raise StructureError(
                f"--compare {self.compare[0]}: one value is no comparison. Give two, such as structure,none."
            )
        known = [*all_option_names(), *RENAMED, *NOT_TRAINING]
        for axis in self.varied:
            if axis not in known:
                raise unknown_option(axis, known)
            if axis == "seed":
                raise StructureError("The seed is no axis of a grid: pass --seeds.")
            if axis == "pairs" and self.curve:
                raise StructureError("--curve varies the number of pairs: it cannot be an axis of the grid as well.")

    @property
    def varied(self) -> frozenset[str]:
        """The axes that were asked for, without the numbers of pairs of a curve."""
        return frozenset((*self.grid, *([self.compare[0]] if self.compare else [])))

    def values(self, axis: str) -> Sequence[Any]:
        """The values of an axis that was asked for."""
        return self.compare[1] if self.compare and self.compare[0] == axis else self.grid[axis]

    @property
    def compared(self) -> tuple[str, ...]:
        """The axes on which variants are compared with each other."""
        return (self.compare[0],) if self.compare else tuple(BASELINE) if self.curve else ()

    def cells(self) -> tuple[GridCell, ...]:
        """Every combination, the compared axis last but for the curve's."""
        axes: dict[str, Sequence[Any]] = dict(self.grid)
        if self.compare:
            axes[self.compare[0]] = self.compare[1]
        if self.curve:
            axes["pairs"] = sorted(set(self.curve))
        return tuple(self._cell(dict(zip(axes, corner, strict=True))) for corner in itertools.product(*axes.values()))

    def baselines(self, known: Collection[str], *, selects: bool) -> tuple[GridCell, ...]:
        """What the points of a curve are compared with where nothing else is: the same on the last layers, and without
        R_S where it is among the `known` options; the default method where it `selects` one."""
        if not self.curve or self.compare:
            return ()
        baseline = {name: value for name, value in BASELINE.items() if name in (*known, *NOT_TRAINING)}
        method = {"method": DEFAULT_METHOD} if selects else {}
        return tuple(self._cell({**cell.values, **baseline, **method}) for cell in self.cells())

    def _cell(self, corner: Mapping[str, Any]) -> GridCell:
        return GridCell(corner, LayerChoice(corner.get("layers", self.layers)))


def sweep_recipe(
    name: str = "sweep",
    axes: Axes | None = None,
    *,
    preset: str = "default",
    training: Mapping[str, Any] | None = None,
    stored: StoredPairs | None = None,
    seeds: Sequence[int] = SEEDS,
    suite: str | None = None,
) -> Recipe:
    """Every combination of the axes with every seed; `training` are the options of every run besides.

    `suite` evaluates every aligner. Raises StructureError as `Axes`, `Recipe` and `require_effects` do, for an option
    that is an axis too, and for a curve that would be compared with itself.
    """
    axes, stored, training = axes or Axes(), stored or StoredPairs(), dict(training or {})
    if suite is not None:
        load_suite(suite)  # told before anything is trained
    both = [name for name in training if name in axes.varied]
    if both:
        raise UsageError(f"{flagged(both[0])} is given for every run and varied as well. Leave one of them out.")
    options = [{**training, **cell.training} for cell in axes.cells()]
    varied = [axis for axis in axes.varied if axis not in NOT_TRAINING and len({*map(str, axes.values(axis))}) > 1]
    named = named_runs(options)
    if named:
        given = [name for name in training if len(named) == len(options) or name not in SELECTION_OPTIONS]
        require_effects(named, preset=preset, varied=varied, given=given)
    if stored.split_column and any(run.get("method") == AUTO for run in options):
        require_undivided({"--method auto": True})
    require_unpaired([*training, *axes.varied], stored.unpaired)
    _require_use_of_unpaired(options, preset, stored.unpaired)
    cells = axes.cells()
    known = {name for cell in options for name in options_of(cell.get("method", DEFAULT_METHOD))}
    selecting = any(cell.get("method") == AUTO for cell in options)
    baselines = axes.baselines(known, selects=selecting)
    for cell, other in zip(cells, baselines, strict=bool(baselines)):
        if not selecting and _means(cell, training, preset) == _means(other, training, preset):
            without = " without R_S" if "regulariser" in known else ""
            raise UsageError(
                f"--curve compares with the last layers{without}, and these runs are just that. Choose other layers "
                "(--layers auto), or say what to compare: --compare method=linear,csa"
            )
    for cell in baselines:
        cells += () if cell in cells else (cell,)
    compared = (*axes.compared, *(["method"] if selecting and baselines else []))
    return Recipe(
        name=name,
        version=1,
        about="",
        encoders=(Encoders(stored.vision or "", stored.text or ""),),
        extract={},
        rank={},
        preset=preset,
        training=training,
        shared_rate=compared,
        seeds=tuple(seeds),
        cells=cells,
        evaluate=None if suite is None else {"suite": suite},
        contrasts=tuple(contrasts_along(cells, compared)),
        stored=stored,
        curve=bool(axes.curve),
        source="flags",
    )


def options_of(method: str) -> Sequence[str]:
    """The options that runs of a method may have; of a selected one those of all."""
    return all_option_names() if method == AUTO else option_names(method)


def _means(cell: GridCell, training: Mapping[str, Any], preset: str) -> tuple[str, TrainingOptions]:
    """What a cell trains: its layers as they are named, and its options."""
    return cell.layers.given, TrainingOptions.preset(preset, **applicable(published({**training, **cell.training})))


def _require_use_of_unpaired(runs: Sequence[Mapping[str, Any]], preset: str, unpaired: Sequence[str]) -> None:
    """Raises StructureError where unpaired rows are given that no run, or not every method, can use, and where a method
    needs some and there are none."""
    if unpaired and any(run.get("method") == AUTO for run in runs):
        raise UsageError(
            "--unpaired with a selected method is of one run: leave out the flags of many runs, or name methods that "
            "use unpaired rows, such as --method linear (R_S sees them) or sotalign (which matches them)."
        )
    named = [published(run) for run in runs if run.get("method") != AUTO]
    options = [TrainingOptions.preset(preset, **applicable(run)) for run in named]
    if not unpaired:
        for each in options:
            require_use_of_unpaired(each, unpaired)
        return
    unused = [each.method for each in options if use_of_unpaired(each) == "unused"]
    without = [name for name in unused if "regulariser" not in option_names(name)]
    if without or len(unused) == len(options):
        told = without[0] if without else options[0].method
        raise StructureError(
            f"--unpaired changes nothing for {told}: R_S sees unpaired rows, and it trains without R_S here. "
            f"Leave out --unpaired{f', or leave {told} out of the grid' if len(options) > 1 else ''}."
        )
