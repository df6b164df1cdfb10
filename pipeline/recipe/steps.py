"""The work of a recipe as steps in order, each with everything that it depends on; nothing is run or read here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from structure.pipeline.recipe.cells import GridCell, partners
from structure.pipeline.recipe.schema import Encoders, Recipe
from structure.store.errors import StructureError

Stage = Literal["extract", "rank", "align", "evaluate", "report"]
STAGES: tuple[Stage, ...] = ("extract", "rank", "align", "evaluate", "report")


@dataclass(frozen=True)
class Step:
    """One call of a stage. `options`: what the recipe says about it, JSON values. `needs`: role -> key of the step
    whose outcome it takes."""

    key: str
    stage: Stage
    options: Mapping[str, Any]
    needs: Mapping[str, str]


@dataclass(frozen=True)
class TrainingRun:
    """One training run of a recipe: the aligner's name, its variant, its seed and the pair of encoders."""

    aligner: str
    variant: str
    seed: int
    encoders: Encoders
    cell: GridCell


def runs_of(recipe: Recipe) -> tuple[TrainingRun, ...]:
    """Every training run: pairs of encoders, then cells, then seeds.

    Cells with the regulariser go first, so that a learning rate that is shared is one found with all losses in place.
    """
    several = len(recipe.encoders) > 1
    cells = sorted(recipe.cells, key=lambda cell: cell.values.get("regulariser") == "none")
    found = []
    for encoders in recipe.encoders:
        first = f"vision={encoders.vision} text={encoders.text}" if several else ""
        for cell in cells:
            variant = " ".join(filter(None, (first, cell.variant)))
            for seed in recipe.seeds:
                parts = [recipe.name, *([pair_slug(encoders)] if several else []), cell.slug, f"seed{seed}"]
                found.append(TrainingRun(_plain("-".join(parts)), variant, seed, encoders, cell))
    names = [run.aligner for run in found]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise StructureError(f"Two runs of the recipe {recipe.name} would be called {twice}.")
    return tuple(found)


def compared(recipe: Recipe) -> list[tuple[str, str]]:
    """(first variant, second variant) of every comparison, over all other coordinates and pairs of encoders."""
    runs = runs_of(recipe)
    told = {(run.encoders, run.cell.variant): run.variant for run in runs}
    return [
        (told[encoders, first.variant], told[encoders, second.variant])
        for comparison in recipe.compare
        for encoders in recipe.encoders
        for first, second in partners(recipe.cells, comparison.first, comparison.second)
    ]


def steps_of(recipe: Recipe) -> tuple[Step, ...]:
    """Every step, each after all that it needs."""
    extracting = {model: _extract(recipe, model) for pair in recipe.encoders for model in (pair.vision, pair.text)}
    ranking = [
        Step(rank_key(recipe, pair, name), "rank", dict(options), _extractions(pair))
        for pair in recipe.encoders
        for name, options in recipe.rank.items()
    ]
    aligning: dict[str, Step] = {}
    leaders: dict[Any, str] = {}
    for run in runs_of(recipe):
        needs = _extractions(run.encoders)
        if run.cell.layers.ranking is not None:
            needs["ranking"] = rank_key(recipe, run.encoders, run.cell.layers.ranking)
        if recipe.share_rate and not {"rate", "learning_rate"} & run.cell.values.keys():
            shared = (run.encoders, run.cell.layers, run.cell.values.get("method"), run.cell.pairs)
            if shared in leaders:
                needs["rate"] = leaders[shared]
            leaders.setdefault(shared, f"align/{run.aligner}")
        aligning[run.aligner] = Step(f"align/{run.aligner}", "align", _training(recipe, run), needs)
    evaluating = [
        Step(f"evaluate/{name}", "evaluate", {**recipe.evaluate, "aligner": name}, {"aligner": step.key})
        for name, step in aligning.items()
    ]
    summary = {
        "name": recipe.name,
        "version": recipe.version,
        "about": recipe.about,
        "compare": [list(pair) for pair in compared(recipe)],
        "correlate": recipe.correlate,
    }
    wanted = {step.key: step.key for step in (*ranking, *aligning.values(), *evaluating)}
    page = Step("report", "report", summary, wanted)
    return (*extracting.values(), *ranking, *aligning.values(), *evaluating, page)


def dependents(steps: Sequence[Step], keys: set[str]) -> set[str]:
    """The keys given and those of every step that needs one of them, directly or through others."""
    found = set(keys)
    for step in steps:
        if found & set(step.needs.values()):
            found.add(step.key)
    return found


def rank_key(recipe: Recipe, pair: Encoders, name: str) -> str:
    """The key of the step that makes the ranking `name` of two encoders."""
    return f"rank/{name}" + (f"-{pair_slug(pair)}" if len(recipe.encoders) > 1 else "")


def pair_slug(encoders: Encoders) -> str:
    """Two encoders as part of a folder's name."""
    return f"{_plain(encoders.vision)}+{_plain(encoders.text)}"


def _extract(recipe: Recipe, model: str) -> Step:
    return Step(_extract_key(model), "extract", {**recipe.extract, "model": model}, {})


def _training(recipe: Recipe, run: TrainingRun) -> dict[str, Any]:
    return {
        "aligner": run.aligner,
        "preset": recipe.preset,
        "training": {**recipe.training, **run.cell.training, "seed": run.seed},
        "pairs": run.cell.pairs,
        **run.cell.layers.options(),
    }


def _extract_key(model: str) -> str:
    return f"extract/{_plain(model)}"


def _extractions(pair: Encoders) -> dict[str, str]:
    return {"vision": _extract_key(pair.vision), "text": _extract_key(pair.text)}


def _plain(text: str) -> str:
    return re.sub(r"[^\w.@+=-]+", "-", text, flags=re.ASCII).strip("-.")
