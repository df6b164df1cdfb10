"""The work of a recipe as steps in order, each with everything that it depends on; nothing is run or read here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from structure.pipeline.recipe.grid import GridCell
from structure.pipeline.recipe.recipe import Encoders, Recipe
from structure.pipeline.stage_requests.align import AUTO, selects
from structure.store.errors import StructureError

Stage = Literal["extract", "rank", "align", "evaluate", "report"]
STAGES: tuple[Stage, ...] = ("extract", "rank", "align", "evaluate", "report")


@dataclass(frozen=True)
class Step:
    """One call of a stage. `options`: what the recipe says about it, JSON values. `needs`: role -> key of the step
    whose result it takes."""

    key: str
    stage: Stage
    options: Mapping[str, Any]
    needs: Mapping[str, str]

    @property
    def selects(self) -> bool:
        """Whether it is a training whose method or weight of R_S is selected."""
        return selects(self.options.get("training", {}))

    @property
    def work(self) -> str:
        """What it does, in words: `training sweep-weight=1-seed2`."""
        verb = {"extract": "extracting", "rank": "ranking", "align": "training", "evaluate": "evaluating"}
        return f"{verb[self.stage]} {self.key.partition('/')[2]}" if self.stage in verb else "reporting"


@dataclass(frozen=True)
class TrainingRun:
    """One training run of a recipe: the aligner's name, its variant, its seed and the pair of encoders."""

    aligner: str
    variant: str
    seed: int
    encoders: Encoders
    cell: GridCell


def runs_of(recipe: Recipe) -> tuple[TrainingRun, ...]:
    """Every training run but those of excluded variants: pairs of encoders, then cells, then seeds.

    Cells with the regulariser go first, so that a learning rate that is shared is one found with all losses in place.
    """
    several = len(recipe.encoders) > 1
    cells = sorted(recipe.cells, key=lambda cell: cell.values.get("regulariser") == "none")
    runs = []
    for encoders in recipe.encoders:
        for cell in cells:
            variant = variant_of(recipe, encoders, cell)
            if variant in recipe.excluded:
                continue
            # A name like `sweep` is given many times: there the axes tell its aligners apart.
            parts = [recipe.name, pair_slug(encoders) if several else "", cell.slug(keys=recipe.stored is not None)]
            for seed in recipe.seeds:
                name = "-".join([*filter(None, parts), f"seed{seed}"])
                runs.append(TrainingRun(_plain(name), variant, seed, encoders, cell))
    names = [run.aligner for run in runs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise StructureError(f"Two runs of the {recipe.noun} {recipe.name} would be called {twice}.")
    return tuple(runs)


def variant_of(recipe: Recipe, encoders: Encoders, cell: GridCell) -> str:
    """What a recipe calls a cell: with its encoders where the recipe has several pairs of them."""
    several = len(recipe.encoders) > 1
    return (f"vision={encoders.vision} text={encoders.text} " if several else "") + cell.variant


def compared(recipe: Recipe) -> list[tuple[str, str]]:
    """(first variant, second variant) of every contrast and pair of encoders."""
    pairs = [
        (variant_of(recipe, encoders, contrast.first), variant_of(recipe, encoders, contrast.second))
        for contrast in recipe.contrasts
        for encoders in recipe.encoders
    ]
    return [pair for pair in pairs if recipe.excluded.isdisjoint(pair)]


def steps_of(recipe: Recipe) -> tuple[Step, ...]:
    """Every step, each after all that it needs."""
    pairs = [] if recipe.stored else recipe.encoders
    extracting = {
        model: _extract(recipe, model, without)
        for pair in pairs
        for model, without in ((pair.vision, "captions"), (pair.text, "views"))
    }
    ranking = [
        Step(rank_key(recipe, pair, name), "rank", dict(options), _extractions(pair))
        for pair in recipe.encoders
        for name, options in recipe.rank.items()
    ]
    aligning: dict[str, Step] = {}
    leaders: dict[Any, str] = {}
    for run in runs_of(recipe):
        needs = {} if recipe.stored else _extractions(run.encoders)
        if run.cell.layers.ranking is not None:
            needs["ranking"] = rank_key(recipe, run.encoders, run.cell.layers.ranking)
        method = {**recipe.training, **run.cell.training}.get("method")
        if (
            recipe.shared_rate is not None
            and method != AUTO
            and not {"rate", "learning_rate"} & run.cell.training.keys()
        ):
            group = (run.encoders, run.cell.values.get("method"), run.cell.without(recipe.shared_rate))
            if group in leaders:
                needs["rate"] = leaders[group]
            leaders.setdefault(group, f"align/{run.aligner}")
        aligning[run.aligner] = Step(f"align/{run.aligner}", "align", _training(recipe, run), needs)
    evaluating = [
        Step(f"evaluate/{name}", "evaluate", {**recipe.evaluate, "aligner": name}, {"aligner": step.key})
        for name, step in aligning.items()
        if recipe.evaluate is not None
    ]
    summary = {
        "name": recipe.name,
        "version": recipe.version,
        "about": recipe.about,
        "compare": [list(pair) for pair in compared(recipe)],
        "correlate": recipe.correlate,
        **({"excluded": sorted(recipe.excluded)} if recipe.excluded else {}),
    }
    summarised = {step.key: step.key for step in (*ranking, *aligning.values(), *evaluating)}
    report = Step("report", "report", summary, summarised)
    return (*extracting.values(), *ranking, *aligning.values(), *evaluating, report)


def rank_key(recipe: Recipe, pair: Encoders, name: str) -> str:
    """The key of the step that makes the ranking `name` of two encoders."""
    return f"rank/{name}" + (f"-{pair_slug(pair)}" if len(recipe.encoders) > 1 else "")


def pair_slug(encoders: Encoders) -> str:
    """Two encoders as part of a folder's name."""
    return f"{_plain(encoders.vision)}+{_plain(encoders.text)}"


def _extract(recipe: Recipe, model: str, without: str) -> Step:
    """The extraction with one encoder; the option `without` is of the other side."""
    options = {name: value for name, value in recipe.extract.items() if name != without}
    return Step(_extract_key(model), "extract", {**options, "model": model}, {})


def _training(recipe: Recipe, run: TrainingRun) -> dict[str, Any]:
    options = {
        "aligner": run.aligner,
        "preset": recipe.preset,
        "training": {**recipe.training, **run.cell.training, "seed": run.seed},
        "pairs": run.cell.pairs,
        **run.cell.layers.options(),
    }
    if recipe.stored:
        options |= {"pairs": run.cell.pairs or recipe.stored.pairs, "stored": recipe.stored.options()}
    return options


def _extract_key(model: str) -> str:
    return f"extract/{_plain(model)}"


def _extractions(pair: Encoders) -> dict[str, str]:
    return {"vision": _extract_key(pair.vision), "text": _extract_key(pair.text)}


def _plain(text: str) -> str:
    return re.sub(r"[^\w.@+=-]+", "-", text, flags=re.ASCII).strip("-.")
