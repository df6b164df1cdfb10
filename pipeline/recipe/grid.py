"""The grid of a recipe: every combination of its values is a grid cell, trained once a seed."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from structure.store.errors import StructureError

NOT_TRAINING = ("layers", "pairs")


@dataclass(frozen=True)
class LayerChoice:
    """How a cell's two layers are chosen: by a ranking of the recipe (its best pair, or its pair number `place` of `of`
    spread over the range of similarity, the most similar last), or as `given` to the training (`last`,
    `VISION,TEXT`, or `auto` for the newest ranking in the store)."""

    given: str
    ranking: str | None = None
    place: int | None = None
    of: int | None = None

    def options(self) -> dict[str, Any]:
        """The choice as JSON values."""
        if self.ranking is None:
            return {"layers": self.given}
        return {"layers": "ranked"} | ({} if self.of is None else {"place": self.place, "of": self.of})


@dataclass(frozen=True)
class GridCell:
    """One variant: its coordinates in the grid, in the order of the grid's keys; `options` are those of its whole grid,
    which do not tell it apart."""

    values: Mapping[str, Any]
    layers: LayerChoice
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def variant(self) -> str:
        """`layers=auto regulariser=none`: what tells the cell apart; `chosen` where nothing varies."""
        return " ".join(f"{key}={value}" for key, value in self.values.items()) or "chosen"

    def slug(self, *, keys: bool = False) -> str:
        """The same as part of a folder's name: the values, with `keys` also what they are values of."""
        parts = [f"{key}={value}" if keys else str(value) for key, value in self.values.items()]
        return "-".join(parts).replace(",", "+")

    @property
    def pairs(self) -> int | None:
        """Pairs to train on; None for all."""
        return self.values.get("pairs")

    @property
    def training(self) -> Mapping[str, Any]:
        """Its training options: those of its grid, and the coordinates that are training options."""
        return {**self.options, **{key: value for key, value in self.values.items() if key not in NOT_TRAINING}}

    def without(self, axes: Collection[str]) -> tuple[tuple[str, Any], ...]:
        """The coordinates on all other axes."""
        return tuple((key, value) for key, value in self.values.items() if key not in axes)


@dataclass(frozen=True)
class Contrast:
    """Two cells whose results are compared: `first - second`."""

    first: GridCell
    second: GridCell


def cells_of(grid: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> tuple[GridCell, ...]:
    """Every cell of a grid, all with these options. `layers` lists choices, or is `{ranking: NAME, spread: N}`.

    Raises StructureError for an axis without values."""
    axes: list[list[tuple[str, Any, LayerChoice | None]]] = []
    for key, values in grid.items():
        if key == "layers":
            axes.append([(key, label, choice) for label, choice in _layers(values)])
            continue
        if not isinstance(values, list) or not values:
            raise StructureError(f"{key!r} is {values!r}; an axis of a grid is a list of one value or more.")
        axes.append([(key, value, None) for value in values])
    cells = []
    for corner in itertools.product(*axes):
        choice = next(choice for *_, choice in corner if choice is not None)
        cells.append(GridCell({key: value for key, value, _ in corner}, choice, options or {}))
    return tuple(cells)


def matching(cells: Iterable[GridCell], values: Mapping[str, Any]) -> list[GridCell]:
    """The cells that have all these coordinates."""
    return [cell for cell in cells if all(cell.values.get(key) == value for key, value in values.items())]


def contrasts_between(cells: Sequence[GridCell], first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Contrast]:
    """Every cell at `first` with each other one at `second` that is equal on all further axes that both have."""
    named = {*first, *second}
    return [
        Contrast(cell, other)
        for cell in matching(cells, first)
        for other in matching(cells, second)
        if other != cell
        and all(cell.values[axis] == other.values[axis] for axis in (cell.values.keys() & other.values.keys()) - named)
    ]


def contrasts_along(cells: Sequence[GridCell], axes: Collection[str]) -> list[Contrast]:
    """Every cell with each later one that differs from it on `axes` alone; none without axes."""
    if not axes:
        return []
    pairs = itertools.combinations(cells, 2)
    return [Contrast(first, second) for first, second in pairs if first.without(axes) == second.without(axes)]


def _layers(values: Any) -> list[tuple[str, LayerChoice]]:
    if isinstance(values, dict):
        if set(values) != {"ranking", "spread"} or type(values["spread"]) is not int or values["spread"] < 3:
            raise StructureError("'layers' is {ranking: NAME, spread: N} with N from 3, or a list of choices.")
        name, count = str(values["ranking"]), values["spread"]
        digits = len(str(count - 1))
        return [(f"{name}@{i:0{digits}}", LayerChoice("", name, i, count)) for i in range(count)]
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise StructureError(f"'layers' is {values!r}; it must be a list such as [last, auto].")
    return [(v, LayerChoice(v)) if v == "last" or "," in v else (v, LayerChoice("", v)) for v in values]
