"""A recipe: which runs are made of which features, how they are evaluated, and what is compared. From YAML or flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from structure.pipeline.aligners.options import TrainingOptions, applicable
from structure.pipeline.model_selection.options import SELECTION_OPTIONS
from structure.pipeline.recipe.grid import Contrast, GridCell
from structure.pipeline.stage_requests.align import AUTO, published, selected, selects
from structure.store.errors import StructureError


@dataclass(frozen=True)
class Encoders:
    """Two encoders that are aligned with each other, as specs or aliases."""

    vision: str
    text: str


@dataclass(frozen=True)
class StoredPairs:
    """Features that the store has already, and which pairs of them are trained on: arguments of `align` by name.

    `test` is the test fraction, `memory` a number of bytes; None or empty is what `align` takes by default.
    """

    dataset: str | None = None
    split: str | None = None
    vision: str | None = None
    text: str | None = None
    pairs: int | None = None
    test: float = 0.0
    add: tuple[str, ...] = ()
    unpaired: tuple[str, ...] = ()
    memory: int | None = None
    split_column: str | None = None

    @property
    def sets(self) -> dict[str, str | None]:
        """Which feature sets are meant."""
        return {"dataset": self.dataset, "split": self.split, "vision": self.vision, "text": self.text}

    def options(self) -> dict[str, Any]:
        """What is said, as JSON values, but for the number of pairs, which a grid may vary."""
        given = {name: value for name, value in asdict(self).items() if value and name != "pairs"}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


@dataclass(frozen=True)
class Recipe:
    """A recipe that makes sense: one that does not cannot be built. Of the options a method takes those that it has.

    `extract`, `evaluate` and the values of `rank` are options of those stages; `rank`: ranking's name -> options.
    `stored` names features that are there, in place of `extract`: then no encoder runs, and the summary has also what
    training measures on its held-out pairs, and no page is made. `training`: options of every run besides those of its
    cell. Runs that differ in nothing but their seed and their place on `shared_rate` axes use the learning rate that
    the first of them finds (None: each run finds its own). `excluded` are variants that could not be trained. `curve`:
    whether the grid's numbers of pairs give label efficiency. `source`: the file.

    Raises StructureError for a seed or a cell that is there twice and for values that training does not take.
    """

    name: str
    version: int
    about: str
    encoders: tuple[Encoders, ...]
    extract: Mapping[str, Any]
    rank: Mapping[str, Mapping[str, Any]]
    preset: str
    training: Mapping[str, Any]
    shared_rate: tuple[str, ...] | None
    seeds: tuple[int, ...]
    cells: tuple[GridCell, ...]
    evaluate: Mapping[str, Any] | None
    contrasts: tuple[Contrast, ...] = ()
    correlate: Mapping[str, Any] | None = None
    stored: StoredPairs | None = None
    curve: bool = False
    excluded: frozenset[str] = frozenset()
    source: str = field(default="", compare=False)

    @property
    def noun(self) -> str:
        """What messages call it: many runs that the command line asked for are a sweep."""
        return "sweep" if self.stored else "recipe"

    def __post_init__(self) -> None:
        twice = next((seed for seed in self.seeds if self.seeds.count(seed) > 1), None)
        if twice is not None:
            raise StructureError(
                f"Seed {twice} is given twice: the same run again says nothing about the spread. Leave it out."
            )
        variants = [cell.variant for cell in self.cells]
        if len(set(variants)) != len(variants):
            raise StructureError(f"A grid cell is given twice: {next(v for v in variants if variants.count(v) > 1)}.")
        for cell in self.cells:
            training = {**self.training, **cell.training}
            if training.get("method") == AUTO:
                if self.preset != "default":
                    raise StructureError(f"The preset {self.preset} is of named methods: leave it out of method=auto.")
                selected(training)
            else:
                if selects(training) and self.preset != "default":
                    raise StructureError(
                        f"The preset {self.preset} has its own weight of R_S: leave out weight=auto, or the preset."
                    )
                TrainingOptions.preset(self.preset, **applicable(published(training)))


def named_runs(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The options of the runs that name their method. Beside runs whose method is selected, without what is of these;
    a weight of R_S that is selected is left out."""
    named = [published(cell) for cell in cells if cell.get("method") != AUTO]
    if len(named) == len(cells):
        return named
    return [{name: value for name, value in cell.items() if name not in SELECTION_OPTIONS} for cell in named]
