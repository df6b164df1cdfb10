"""Recipes in YAML, read strictly: an unknown key, a wrong type or a grid cell that is not there names its line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import yaml

from structure.pipeline.aligners.option_effects import OF_UNPAIRED, require_effects
from structure.pipeline.aligners.options import RENAMED, all_option_names
from structure.pipeline.encoders.catalogue import catalogue
from structure.pipeline.model_selection.options import SELECTION_OPTIONS
from structure.pipeline.pairing.two_sides import require_side
from structure.pipeline.recipe.grid import NOT_TRAINING, Contrast, GridCell, cells_of, contrasts_between, matching
from structure.pipeline.recipe.recipe import Encoders, Recipe
from structure.pipeline.stage_requests import AUTO
from structure.pipeline.yaml_file import Place, YamlFile, load_yaml, parse_yaml, shipped, yaml_value
from structure.store.errors import StructureError, UsageError, nearest

SECTIONS = ("name", "version", "about", "encoders", "extract", "rank", "align", "evaluate", "compare", "correlate")
NEEDED = ("name", "encoders", "extract", "align", "evaluate")

Types = type | tuple[type, ...]
EXTRACT: Mapping[str, Types] = {
    "dataset": str,
    "split": str,
    "layers": list,
    "pool": list,
    "tokens": list,
    "views": int,
    "captions": (int, str),
    "limit": int,
    "dtype": str,
    "amp": str,
}
RANK: Mapping[str, Types] = {
    "name": str,
    "metric": str,
    "k": (int, str),
    "samples": (int, str),
    "calibrate": int,
    "preset": str,
    "seed": int,
}
ALIGN: Mapping[str, Types] = {
    "preset": str,
    "options": dict,
    "share_rate": bool,
    "seeds": list,
    "pairs": int,
    "grid": dict,
}
EVALUATE: Mapping[str, Types] = {"suite": (str, dict), "datasets": list, "prompts": str}
CORRELATE: Mapping[str, Types] = {"ranking": str, "metrics": list}
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
    top = file.mapping((), allowed=SECTIONS)
    for section in NEEDED:
        if section not in top:
            raise file.error((), f"a recipe needs {section!r}.")
    _typed(file, ("name",), top["name"], str)
    if not re.fullmatch(r"\w[\w.-]*", top["name"], re.ASCII):
        raise file.error(("name",), f"'name' is {top['name']!r}; it names folders: letters, digits and . _ - only.")
    _typed(file, ("version",), top.get("version", 1), int)
    extract = _section(file, ("extract",), EXTRACT)
    if "dataset" not in extract:
        raise file.error(("extract",), "'extract' needs 'dataset'.")
    rank = _rankings(file)
    align = _section(file, ("align",), ALIGN)
    evaluate = _section(file, ("evaluate",), EVALUATE)
    if "suite" not in evaluate:
        raise file.error(("evaluate",), "'evaluate' needs 'suite'.")
    training = dict(file.mapping(("align", "options"), allowed=training_names())) if "options" in align else {}
    cells = _grid(file, align, rank)
    shared = tuple(axis for axis in grid_names() if axis not in RATE_KEYS) if align.get("share_rate", False) else None
    seeds, encoders, contrasts, correlate = (
        _seeds(file, align),
        _encoders(file),
        _contrasts(file, cells),
        _correlation(file, rank),
    )
    grid = align.get("grid", {})
    try:  # a value that no training can have is an error before anything runs
        recipe = Recipe(
            name=top["name"],
            version=top.get("version", 1),
            about=str(top.get("about", "")),
            encoders=encoders,
            extract=extract,
            rank=rank,
            preset=align.get("preset", "default"),
            training=training,
            shared_rate=shared,
            seeds=seeds,
            cells=cells,
            evaluate=evaluate,
            contrasts=contrasts,
            correlate=correlate,
            source=file.name,
        )
        require_effects(
            _of_named_methods([training | dict(cell.training) for cell in cells]),
            preset=align.get("preset", "default"),
            varied=[axis for axis, given in grid.items() if axis not in NOT_TRAINING and len(given) > 1],
        )
        return recipe
    except (StructureError, TypeError) as error:
        raise file.error(("align",), str(error)) from None


def _of_named_methods(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The options of runs that name their method. Beside runs whose method is selected, without what is of these."""
    named = [dict(cell) for cell in cells if cell.get("method") != AUTO]
    if len(named) == len(cells):
        return named
    return [{name: value for name, value in cell.items() if name not in SELECTION_OPTIONS} for cell in named]


def _section(file: YamlFile, place: Place, known: Mapping[str, Types]) -> Mapping[str, Any]:
    values = dict(file.mapping(place, allowed=known))
    for key, value in values.items():
        _typed(file, (*place, key), value, known[key])
    return values


def _typed(file: YamlFile, place: Place, value: Any, types: Types) -> None:
    allowed = types if isinstance(types, tuple) else (types,)
    if isinstance(value, allowed) and not (isinstance(value, bool) and bool not in allowed):
        return
    names = {int: "a whole number", str: "text", list: "a list", dict: "keys with values", bool: "true or false"}
    expected = " or ".join(names[kind] for kind in allowed)
    raise file.error(place, f"{place[-1]!r} is {value!r}; it must be {expected}.")


def _encoders(file: YamlFile) -> tuple[Encoders, ...]:
    entries = file.data["encoders"]
    _typed(file, ("encoders",), entries, list)
    encoders = []
    for index in range(len(entries)):
        pair = _section(file, ("encoders", index), {"vision": str, "text": str})
        if len(pair) != 2:
            raise file.error(("encoders", index), "a pair of encoders needs 'vision' and 'text'.")
        for side, model in pair.items():
            known = catalogue().get(model)
            if known is not None:
                try:
                    require_side(side, model, known.modality)
                except StructureError as error:
                    raise file.error(("encoders", index, side), str(error)) from None
        if pair["vision"] == pair["text"]:
            raise file.error(
                ("encoders", index), f"{pair['vision']} is named for both sides; a pair needs two encoders."
            )
        encoders.append(Encoders(**pair))
    if not encoders or len(set(encoders)) != len(encoders):
        raise file.error(("encoders",), "'encoders' needs one pair or more, each once.")
    return tuple(encoders)


def _rankings(file: YamlFile) -> dict[str, Mapping[str, Any]]:
    entries = file.data.get("rank", [])
    _typed(file, ("rank",), entries, list)
    rankings: dict[str, Mapping[str, Any]] = {}
    for index in range(len(entries)):
        options = dict(_section(file, ("rank", index), RANK))
        name = options.pop("name", "auto")
        if name in rankings or name == RESERVED or not name.replace("-", "").replace("_", "").isalnum():
            raise file.error(
                ("rank", index), f"a ranking cannot be called {name!r}: a word of its own, not {RESERVED!r}."
            )
        rankings[name] = options
    return rankings


def _seeds(file: YamlFile, align: Mapping[str, Any]) -> tuple[int, ...]:
    seeds = align.get("seeds", [42])
    if not all(type(seed) is int and seed >= 0 for seed in seeds) or not seeds or len(set(seeds)) != len(seeds):
        raise file.error(("align", "seeds"), f"'seeds' is {seeds!r}; it must be whole numbers from 0, each once.")
    return tuple(seeds)


def _grid(file: YamlFile, align: Mapping[str, Any], rank: Mapping[str, Any]) -> tuple[GridCell, ...]:
    path: Place = ("align", "grid")
    grid = dict(file.mapping(path, allowed=grid_names())) if "grid" in align else {}
    grid.setdefault("layers", ["auto" if "auto" in rank else RESERVED])
    if "pairs" in align:
        if "pairs" in grid:
            raise file.error((*path, "pairs"), "'pairs' is in 'align' and in its grid. Keep one of them.")
        grid["pairs"] = [align["pairs"]]
    try:
        cells = cells_of(grid)
    except StructureError as error:
        raise file.error(path, str(error)) from None
    for cell in cells:
        named = cell.layers.ranking
        if named is not None and named not in rank:
            close = nearest(named, rank)
            offer = f"Did you mean {close[0]}?" if close else f"Known: {', '.join([*rank, RESERVED])}, VISION,TEXT."
            raise file.error((*path, "layers"), f"there is no ranking {named!r}. {offer}")
    return cells


def _contrasts(file: YamlFile, cells: Sequence[GridCell]) -> tuple[Contrast, ...]:
    entries = file.data.get("compare", [])
    _typed(file, ("compare",), entries, list)
    contrasts: list[Contrast] = []
    for index in range(len(entries)):
        pair = _section(file, ("compare", index), {"first": dict, "second": dict})
        for side in ("first", "second"):
            if side not in pair:
                raise file.error(("compare", index), "a comparison needs 'first' and 'second'.")
            file.mapping(("compare", index, side), allowed=grid_names())
            if not matching(cells, pair[side]):
                known = ", ".join(sorted({f"{key}={value}" for cell in cells for key, value in cell.values.items()}))
                raise file.error(
                    ("compare", index, side), f"{pair[side]} is not a cell of the grid, which has {known}."
                )
        if pair["first"].keys() != pair["second"].keys():
            raise file.error(("compare", index), "'first' and 'second' must name the same keys; others are equal.")
        contrasts += contrasts_between(cells, pair["first"], pair["second"])
    return tuple(contrasts)


def _correlation(file: YamlFile, rank: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if "correlate" not in file.data:
        return None
    section = dict(_section(file, ("correlate",), CORRELATE))
    section.setdefault("ranking", next(iter(rank), ""))
    if section["ranking"] not in rank:
        raise file.error(("correlate",), f"there is no ranking {section['ranking']!r}; rankings: {', '.join(rank)}.")
    if "metrics" in section:
        section["metrics"] = list(file.strings(("correlate", "metrics")))
    return section
