"""A sweep is a recipe built in memory: many runs on features that the store has, over a grid, a comparison or a curve.

A comparison trains every variant with the same seeds, pairs, batches, learning rate and selection rule.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from structure.pipeline.aligners.options import RENAMED, TrainingOptions, all_option_names, require_applicable
from structure.pipeline.recipe.grid import NOT_TRAINING, GridCell, LayerChoice, contrasts_along
from structure.pipeline.recipe.recipe import Encoders, Recipe, StoredPairs
from structure.store.errors import StructureError, unknown

BASELINE = {"layers": "last", "regulariser": "none"}
"""What label efficiency is measured against where nothing else is compared (arXiv 2506.16895, section 4)."""
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
                raise unknown("option to vary", axis, known)
            if axis == "seed":
                raise StructureError("The seed is no axis of a grid: pass --seeds.")
            if axis == "pairs" and self.curve:
                raise StructureError("--curve varies the number of pairs: it cannot be an axis of the grid as well.")

    @property
    def varied(self) -> frozenset[str]:
        """The axes that were asked for, without the numbers of pairs of a curve."""
        return frozenset((*self.grid, *([self.compare[0]] if self.compare else [])))

    @property
    def compared(self) -> tuple[str, ...]:
        """The axes on which variants are compared with each other."""
        return (self.compare[0],) if self.compare else tuple(BASELINE) if self.curve else ()

    def cells(self) -> tuple[GridCell, ...]:
        """Every combination, the compared axis last but for the curve's; the baselines of a curve after them."""
        axes: dict[str, Sequence[Any]] = dict(self.grid)
        if self.compare:
            axes[self.compare[0]] = self.compare[1]
        if self.curve:
            axes["pairs"] = sorted(set(self.curve))
        corners = [dict(zip(axes, corner, strict=True)) for corner in itertools.product(*axes.values())]
        if self.curve and not self.compare:
            corners += [baseline for corner in corners if (baseline := {**corner, **BASELINE}) not in corners]
        return tuple(GridCell(corner, LayerChoice(corner.get("layers", self.layers))) for corner in corners)


def sweep_recipe(
    name: str = "sweep",
    axes: Axes | None = None,
    *,
    options: TrainingOptions | None = None,
    stored: StoredPairs | None = None,
    seeds: Sequence[int] = SEEDS,
    suite: str | None = None,
    datasets: Sequence[str] = (),
) -> Recipe:
    """Every combination of the axes with every seed; `options` are those of every run besides.

    `suite` evaluates every aligner, on `datasets` of it where some are named. Raises StructureError as `Axes` and
    `Recipe` do.
    """
    axes, options, stored = axes or Axes(), options or TrainingOptions(), stored or StoredPairs()
    cells = axes.cells()
    varied = axes.varied - {*NOT_TRAINING}
    asked = ({name: value for name, value in cell.values.items() if name in varied} for cell in cells)
    require_applicable({"method": options.method, **values} for values in asked)
    return Recipe(
        name=name,
        version=1,
        about="",
        encoders=(Encoders(stored.vision or "", stored.text or ""),),
        extract={},
        rank={},
        preset="default",
        training=_stated(options),
        shared_rate=axes.compared,
        seeds=tuple(seeds),
        cells=cells,
        evaluate=None if suite is None else {"suite": suite} | ({"datasets": list(datasets)} if datasets else {}),
        contrasts=tuple(contrasts_along(cells, axes.compared)),
        stored=stored,
        curve=bool(axes.curve),
        source="flags",
    )


def _stated(options: TrainingOptions) -> dict[str, Any]:
    """The method, and the options that say something else than their default, but for the seed and the device."""
    values = {
        one.name: getattr(options, one.name)
        for one in fields(options)
        if one.name not in ("seed", "device") and getattr(options, one.name) != one.default
    }
    return {"method": options.method, **values}
