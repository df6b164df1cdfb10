"""Recipes in YAML, read strictly: an unknown key, a wrong type or a grid cell that is not there names its line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Any

import yaml

from structure.pipeline.aligners.option_effects import OF_UNPAIRED, require_effects
from structure.pipeline.aligners.options import RENAMED, all_option_names, applicable
from structure.pipeline.encoders.catalogue import catalogue
from structure.pipeline.model_selection.options import SELECTION_OPTIONS
from structure.pipeline.pairing.require_two_sides import require_side
from structure.pipeline.recipe.grid import NOT_TRAINING, Contrast, GridCell, cells_of, contrasts_between, matching
from structure.pipeline.recipe.recipe import Encoders, Recipe, named_runs
from structure.pipeline.stage_requests.rank import RankRequest
from structure.pipeline.yaml_file import Place, YamlFile, load_yaml, parse_yaml, shipped, yaml_value
from structure.pipeline.yaml_record import key, read_record
from structure.store.errors import StructureError, UsageError, nearest


@dataclass(frozen=True, kw_only=True)
class Extract:
    """What is extracted, as options of that stage; None is its default."""

    dataset: str
    split: str | None = None
    layers: tuple[str, ...] | None = None
    pool: tuple[str, ...] | None = None
    tokens: tuple[str, ...] | None = None
    views: int | None = None
    captions: int | str | None = None
    limit: int | None = None
    dtype: str | None = None
    amp: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rank:
    """One ranking, as options of that stage, and what the grid calls it."""

    name: str = "auto"
    metric: str | None = None
    k: int | str | None = None
    samples: int | str | None = None
    calibrate: int | None = None
    preset: str | None = None
    seed: int | None = None
    group: str | None = None
    permute: str | None = None


@dataclass(frozen=True, kw_only=True)
class Align:
    """What is trained: options of every run, and the grid of what varies; or several grids, each with axes of its own
    and, where it says so, with `options` of its runs."""

    preset: str = "default"
    options: Mapping[str, Any] = field(default_factory=dict)
    share_rate: bool = False
    seeds: tuple[int, ...] = key(default=(42,), least=0, fewest=1)
    pairs: int | None = None
    grid: Mapping[str, Any] | tuple[Mapping[str, Any], ...] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """A suite by name, or written out."""

    suite: str | Mapping[str, Any]
    datasets: tuple[str, ...] | None = None
    prompts: str | None = None


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Coordinates of the grid: every cell at `first` against the one at `second`."""

    first: Mapping[str, Any]
    second: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Correlate:
    """A ranking, the first by default, and the metrics that its similarities are correlated with."""

    ranking: str | None = None
    metrics: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Document:
    """A recipe as its file says it."""

    name: str
    encoders: tuple[Encoders, ...]
    extract: Extract
    align: Align
    evaluate: Evaluate
    version: int = 1
    about: str = ""
    rank: tuple[Rank, ...] = ()
    compare: tuple[Compare, ...] = ()
    correlate: Correlate | None = None


ELSEWHERE = ("seed", "device", *OF_UNPAIRED)
"""Training options that a recipe says otherwise ('seeds', and where it is run), and those of unpaired rows, which it
does not have."""
RESERVED = "last"
RATE_KEYS = (*NOT_TRAINING, "method")
"""Axes of a grid along which `share_rate` shares no learning rate: each of their values finds its own."""


def training_names() -> tuple[str, ...]:
    """The training options of all methods that a recipe may say, old names too, and those of `method: auto`."""
    known = (*all_option_names(), *RENAMED, *SELECTION_OPTIONS)
    return tuple(name for name in known if name not in ELSEWHERE)


def grid_names() -> tuple[str, ...]:
    """What an axis of the grid may be."""
    return (*NOT_TRAINING, *training_names())


def recipe_names() -> list[str]:
    """The recipes that ship."""
    return list(shipped("recipes"))


def load_recipe(spec: str, changes: Sequence[str] = ()) -> Recipe:
    """The shipped recipe called `spec`, or the YAML file at that path, with `changes` (`align.seeds=[1, 2]`).

    Raises StructureError with file and line for whatever cannot be; the nearest known key is offered.
    """
    file = load_yaml("recipe", spec, folder="recipes")
    return read(changed(file, changes) if changes else file)


def changed(file: YamlFile, changes: Sequence[str]) -> YamlFile:
    """The document with values replaced: each change is `dotted.key=YAML value`; a list is entered by number."""
    data = deepcopy(dict(file.data))
    for change in changes:
        path, equals, text = change.partition("=")
        try:
            value = yaml_value(text)
        except yaml.YAMLError:
            equals, value = "", None
        if not equals or not path:
            raise UsageError(f"--set {change!r}: write a key, =, and a value, such as --set align.seeds=[1,2].")
        *way, last = path.split(".")
        here: Any = data
        for step in way:
            is_index = isinstance(here, list) and _is_position(step, here)
            here = here[int(step)] if is_index else _entered(here, step, change)
        if isinstance(here, list) and _is_position(last, here):
            here[int(last)] = value
        elif isinstance(here, dict):
            here[last] = value
        else:
            raise UsageError(f"--set {change!r}: there is no {last!r} in {file.name}.")
    return parse_yaml(yaml.safe_dump(data, sort_keys=False), name=f"{file.name} with --set {', '.join(changes)}")


def _is_position(step: str, values: list[Any]) -> bool:
    return step.isdecimal() and int(step) < len(values)


def _entered(here: Any, step: str, change: str) -> Any:
    if not isinstance(here, dict):
        raise UsageError(f"--set {change!r}: there is nothing to enter at {step!r}.")
    return here.setdefault(step, {})


def read(file: YamlFile) -> Recipe:
    """The document as a recipe. Raises as `load_recipe`."""
    said = read_record(file, (), Document, noun="recipe")
    if not re.fullmatch(r"\w[\w.-]*", said.name, re.ASCII):
        raise file.error(("name",), f"'name' is {said.name!r}; it names folders: letters, digits and . _ - only.")
    _require_encoders(file, said.encoders)
    align, rank = said.align, _rankings(file, said.rank)
    if len(set(align.seeds)) != len(align.seeds):
        raise file.error(("align", "seeds"), f"'seeds' is {list(align.seeds)}; it must name seeds, each once.")
    if align.options:
        file.mapping(("align", "options"), allowed=training_names())
    grids = _grids(file, align, rank)
    cells = tuple(cell for grid in grids for cell in grid.cells)
    shared = tuple(axis for axis in grid_names() if axis not in RATE_KEYS) if align.share_rate else None
    contrasts, correlate = _contrasts(file, said.compare, grids), _correlation(file, said.correlate, rank)
    try:  # a value that no training can have is an error before anything runs
        recipe = Recipe(
            name=said.name,
            version=said.version,
            about=said.about,
            encoders=said.encoders,
            extract=_given(said.extract),
            rank=rank,
            preset=align.preset,
            training=align.options,
            shared_rate=shared,
            seeds=align.seeds,
            cells=cells,
            evaluate=_given(said.evaluate),
            contrasts=contrasts,
            correlate=correlate,
            source=file.name,
        )
        _require_effects(align, grids)
        return recipe
    except (StructureError, TypeError) as error:
        raise file.error(("align",), str(error)) from None


@dataclass(frozen=True)
class Grid:
    """The cells of one grid, and the training options that it `varies`."""

    cells: tuple[GridCell, ...]
    varied: tuple[str, ...]


def _require_effects(align: Align, grids: Sequence[Grid]) -> None:
    """Raises StructureError for an option that changes nothing: in no run, or on an axis of a grid."""
    runs = [[{**align.options, **cell.training} for cell in grid.cells] for grid in grids]
    if len(grids) == 1:
        require_effects(named_runs(runs[0]), preset=align.preset, varied=grids[0].varied)
        return
    require_effects(named_runs([run for of_grid in runs for run in of_grid]), preset=align.preset)
    for grid, of_grid in zip(grids, runs, strict=True):  # an option of all runs may be one of another grid's methods
        own = [
            {name: value for name, value in run.items() if name in applicable(run) or name in grid.varied}
            for run in named_runs(of_grid)
        ]
        require_effects(own, preset=align.preset, varied=grid.varied)


def _given(record: Any) -> dict[str, Any]:
    """What a section says, as JSON values: a list for a tuple, nothing for what is not said."""
    values = {one.name: getattr(record, one.name) for one in fields(record)}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if value is not None
    }


def _require_encoders(file: YamlFile, pairs: Sequence[Encoders]) -> None:
    """Raises StructureError for a pair whose sides are known not to be a vision and a text encoder, or are one."""
    for index, pair in enumerate(pairs):
        for side, model in (("vision", pair.vision), ("text", pair.text)):
            known = catalogue().get(model)
            if known is not None:
                try:
                    require_side(side, model, known.modality)
                except StructureError as error:
                    raise file.error(("encoders", index, side), str(error)) from None
        if pair.vision == pair.text:
            raise file.error(("encoders", index), f"{pair.vision} is named for both sides; a pair needs two encoders.")
    if not pairs or len(set(pairs)) != len(pairs):
        raise file.error(("encoders",), "'encoders' needs one pair or more, each once.")


def _rankings(file: YamlFile, entries: Sequence[Rank]) -> dict[str, Mapping[str, Any]]:
    rankings: dict[str, Mapping[str, Any]] = {}
    for index, entry in enumerate(entries):
        options = _given(entry)
        name = options.pop("name")
        if name in rankings or name == RESERVED or not name.replace("-", "").replace("_", "").isalnum():
            raise file.error(
                ("rank", index), f"a ranking cannot be called {name!r}: a word of its own, not {RESERVED!r}."
            )
        try:
            RankRequest(**options)
        except StructureError as error:
            raise file.error(("rank", index), str(error)) from None
        rankings[name] = options
    return rankings


def _grids(file: YamlFile, align: Align, rank: Mapping[str, Any]) -> tuple[Grid, ...]:
    path: Place = ("align", "grid")
    if isinstance(align.grid, Mapping):
        return (_grid(file, path, align, rank),)
    if not align.grid:
        raise file.error(path, "'grid' is an empty list; it must be axes with their values, or a list of such grids.")
    return tuple(_grid(file, (*path, index), align, rank) for index in range(len(align.grid)))


def _grid(file: YamlFile, path: Place, align: Align, rank: Mapping[str, Any]) -> Grid:
    several = not isinstance(align.grid, Mapping)
    grid = dict(file.mapping(path, allowed=(*grid_names(), *(("options",) if several else ())))) if align.grid else {}
    options = dict(file.mapping((*path, "options"), allowed=training_names())) if "options" in grid else {}
    grid.pop("options", None)
    axes = [axis for axis in grid if axis not in NOT_TRAINING]
    grid.setdefault("layers", ["auto" if "auto" in rank else RESERVED])
    if align.pairs is not None:
        if "pairs" in grid:
            raise file.error((*path, "pairs"), "'pairs' is in 'align' and in its grid. Keep one of them.")
        grid["pairs"] = [align.pairs]
    try:
        cells = cells_of(grid, options)
    except StructureError as error:
        raise file.error(path, str(error)) from None
    for cell in cells:
        named = cell.layers.ranking
        if named is not None and named not in rank:
            close = nearest(named, rank)
            offer = f"Did you mean {close[0]}?" if close else f"Known: {', '.join([*rank, RESERVED])}, VISION,TEXT."
            raise file.error((*path, "layers"), f"there is no ranking {named!r}. {offer}")
    return Grid(cells, tuple(axis for axis in axes if len(grid[axis]) > 1))


def _contrasts(file: YamlFile, entries: Sequence[Compare], grids: Sequence[Grid]) -> tuple[Contrast, ...]:
    cells = [cell for grid in grids for cell in grid.cells]
    contrasts: list[Contrast] = []
    for index, entry in enumerate(entries):
        for side, values in (("first", entry.first), ("second", entry.second)):
            file.mapping(("compare", index, side), allowed=grid_names())
            if not matching(cells, values):
                known = ", ".join(sorted({f"{key}={value}" for cell in cells for key, value in cell.values.items()}))
                raise file.error(("compare", index, side), f"{values} is not a cell of the grid, which has {known}.")
        if entry.first.keys() != entry.second.keys() and len(grids) == 1:
            raise file.error(("compare", index), "'first' and 'second' must name the same keys; others are equal.")
        contrasts += contrasts_between(cells, entry.first, entry.second)
    return tuple(contrasts)


def _correlation(file: YamlFile, section: Correlate | None, rank: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if section is None:
        return None
    correlate = {"ranking": next(iter(rank), ""), **_given(section)}
    if correlate["ranking"] not in rank:
        raise file.error(("correlate",), f"there is no ranking {correlate['ranking']!r}; rankings: {', '.join(rank)}.")
    return correlate
