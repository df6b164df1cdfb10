"""Running a recipe: every step whose result is not cached, in order; each result is cached as soon as it is there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from structure.pipeline.progress import Listener, Note, Progress, silent
from structure.pipeline.recipe.recipe import Recipe
from structure.pipeline.recipe.run_cache import CachedStep, RunCache, StepResult, identity_of
from structure.pipeline.recipe.schema import load_recipe
from structure.pipeline.recipe.step_runner import StepRunner
from structure.pipeline.recipe.steps import Step, steps_of
from structure.pipeline.recipe.summary import Summary
from structure.pipeline.recipe.variant_error import VariantError
from structure.pipeline.run_context import RunContext
from structure.pipeline.stages.report import PAGE
from structure.store.errors import StructureError
from structure.store.fingerprint import differences, fingerprint
from structure.store.lease import Lease
from structure.store.seals import SealError

State = Literal["done", "pending", "blocked"]
Outcomes = dict[str, tuple[Literal["ran", "cached"], str]]
"""Step's key -> whether it ran or its result was cached, and why it ran."""


@dataclass(frozen=True)
class StepStatus:
    """Where a step stands. `done`: its result is cached; `pending`: it would run; `blocked`: it needs a step that would
    run, and runs too if that gives another result than before. `why` says so in words, `seconds` what a done one took.
    """

    step: Step
    state: State
    why: str
    seconds: float | None = None

    def row(self) -> dict[str, Any]:
        """Flat JSON values."""
        return {
            "step": self.step.key,
            "stage": self.step.stage,
            "state": self.state,
            "why": self.why,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class RecipeRun:
    """What a recipe gave: its summary, the report, and what became of each step (`ran` or `cached`).

    `metrics` are those that its tasks and its correlation are about; the summary has all. `failed`: the variants that
    could not be trained, with the `seed` and `why`. `report` is empty for a sweep."""

    name: str
    seeds: tuple[int, ...]
    summary: Summary
    report: str
    steps: tuple[tuple[str, Literal["ran", "cached"], str], ...]
    absent: tuple[Mapping[str, str], ...]
    metrics: tuple[str, ...]
    failed: tuple[Mapping[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of `structure run --json` and of `structure align --grid ... --json`."""
        return {
            "recipe": self.name,
            "seeds": list(self.seeds),
            **self.summary.to_json(),
            "report": self.report,
            "seconds": dict(self.summary.seconds),
            "steps": [{"step": key, "was": was, "why": why} for key, was, why in self.steps],
            "absent": [dict(entry) for entry in self.absent],
            "failed": [dict(entry) for entry in self.failed],
        }


class Worker(Protocol):
    """What runs the steps; `StepRunner` with the real stages."""

    def sources(self, step: Step) -> dict[str, str]: ...
    def intact(self, step: Step, result: StepResult) -> bool: ...
    def batch(self, step: Step) -> int: ...
    def work(self, steps: Sequence[Step], results: Mapping[str, StepResult]) -> list[StepResult]: ...


def run(recipe: str | Recipe, context: RunContext, *, changes: Sequence[str] = ()) -> RecipeRun:
    """Run a shipped recipe by name, a YAML file by path, or one built in memory, from where an earlier run stopped.

    A step is run again only where something that it depends on has changed: what the recipe says about it, the data,
    weights, features or suite that it reads, or the result of a step that it needs. `changes` are as of `load_recipe`.
    A variant that cannot be trained is excluded and reported as failed; the others go on. No recipe can ask for code
    that comes with a model: that is the context's to say. Raises StructureError for what the recipe cannot say and
    where no variant can be trained, HeldError where another run of the same recipe is going on, and whatever the
    stages raise; what was finished by then is cached.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, changes)
    runner, cache = StepRunner(recipe, context), RunCache(context.store, recipe.name)
    outcomes: Outcomes = {}
    runner.require_names()
    with Lease(context.store.files, cache.lock, what=f"The {recipe.noun} {recipe.name}"):
        while True:
            try:
                # Who asked for many runs wrote no recipe: the runs are counted, not the steps.
                counted = "" if recipe.stored else "steps of the recipe"
                listener = context.on_event
                results = carry_out(steps_of(recipe), cache, runner, outcomes, on_event=listener, counted=counted)
                break
            except VariantError as error:
                runner.failed.append(error)
                recipe = runner.recipe = replace(recipe, excluded=recipe.excluded | {error.variant})
                if len(recipe.excluded) == len(recipe.cells) * len(recipe.encoders):
                    raise StructureError(f"No variant could be trained. {runner.failed[0]}") from error
                context.note(str(error))
    absent = {
        entry["dataset"]: entry
        for key, result in results.items()
        if key.startswith("evaluate/")
        for entry in result.result["absent"]
    }
    return RecipeRun(
        name=recipe.name,
        seeds=recipe.seeds,
        summary=runner.summary(),
        # Where it is now: a cached step names the place that the store had when it ran.
        report="" if recipe.stored else f"{context.store.folder('reports', recipe.name)}/{PAGE}",
        steps=tuple((key, *outcomes[key]) for key in results),
        absent=tuple(absent.values()),
        metrics=tuple(dict.fromkeys([*(recipe.correlate or {}).get("metrics", ()), *runner.metrics()])),
        failed=tuple(error.row() for error in runner.failed),
    )


def carry_out(
    steps: Sequence[Step],
    cache: RunCache,
    worker: Worker,
    outcomes: Outcomes,
    *,
    on_event: Listener = silent,
    counted: str = "",
) -> dict[str, StepResult]:
    """Run what is pending, in order. Returns every step's result, in order; `outcomes` takes, of each, whether it ran,
    and why.

    `counted` is what progress calls the steps; "" does not count them. A step that ran earlier under the same
    `outcomes` stays one that ran."""
    results: dict[str, StepResult] = {}
    for group in _groups(steps):
        pending: list[tuple[Step, dict[str, Any]]] = []
        for step in group:
            identity = identity_of(step, _inputs(step, results), worker.sources(step))
            entry, damage = _cached(cache, step)
            why = damage or _why(entry, identity, step, worker)
            if entry is not None and not why:
                results[step.key] = entry.result
                outcomes.setdefault(step.key, ("cached", ""))
            else:
                pending.append((step, identity))
                outcomes[step.key] = ("ran", why)
                if (damage or entry is not None) and step.stage != "report":  # which is made anew whenever anything is
                    on_event(Note(f"{step.work} again: {why}"))
        size = worker.batch(group[0])
        for part in (pending[start : start + size] for start in range(0, len(pending), size)):
            began = time.perf_counter()
            made = worker.work([step for step, _ in part], results)
            seconds = (time.perf_counter() - began) / len(part)
            for (step, identity), result in zip(part, made, strict=True):
                results[step.key] = StepResult(result.result, result.digest, seconds)
                cache.write(step, _completed(identity, worker.sources(step)), results[step.key])
        if counted:
            on_event(Progress(counted, len(results), len(steps), "steps"))
    return {step.key: results[step.key] for step in steps}


@dataclass(frozen=True)
class RecipePlan:
    """Where every step of a recipe stands, whether it `is_running`, and which datasets of its evaluation are `absent`
    (`what`, `how_to_get`)."""

    recipe: Recipe
    steps: tuple[StepStatus, ...]
    is_running: bool
    absent: tuple[Mapping[str, str], ...]


def plan(recipe: str | Recipe, context: RunContext, *, changes: Sequence[str] = ()) -> RecipePlan:
    """What a run of the recipe would find; it runs nothing and writes nothing. Raises StructureError as `run` does."""
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, changes)
    cache, runner = RunCache(context.store, recipe.name), StepRunner(recipe, context)
    files = context.store.files
    is_running = files.exists(cache.lock) and not Lease(files, cache.lock, what="").is_stale()
    return RecipePlan(recipe, tuple(statuses(steps_of(recipe), cache, runner)), is_running, tuple(runner.absent()))


def statuses(steps: Sequence[Step], cache: RunCache, worker: Worker) -> list[StepStatus]:
    """The status of every step, each after those that it needs."""
    states: dict[str, StepStatus] = {}
    results: dict[str, StepResult] = {}
    for step in steps:
        entry, damage = _cached(cache, step)
        if entry is not None:
            results[step.key] = entry.result
        blocking = [key for key in step.needs.values() if states[key].state != "done"]
        known = {role: results[key].digest for role, key in step.needs.items() if key in results}
        why = damage or _why(entry, identity_of(step, known, worker.sources(step)), step, worker)
        if why:
            states[step.key] = StepStatus(step, "pending", why)
        elif blocking:
            states[step.key] = StepStatus(step, "blocked", f"needs {blocking[0]}" + _more(len(blocking) - 1))
        else:
            states[step.key] = StepStatus(step, "done", "", entry.result.seconds if entry else None)
    return list(states.values())


def _groups(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Steps in order; those that follow each other, are of one stage and do not need each other go together."""
    group: list[Step] = []
    for step in steps:
        keys = {other.key for other in group}
        if group and (step.stage != group[0].stage or keys & set(step.needs.values())):
            yield group
            group = []
        group.append(step)
    if group:
        yield group


def _inputs(step: Step, results: Mapping[str, StepResult]) -> dict[str, str]:
    return {role: results[key].digest for role, key in step.needs.items()}


def _cached(cache: RunCache, step: Step) -> tuple[CachedStep | None, str]:
    """The entry of a step, and what is wrong with one that cannot be used."""
    try:
        return cache.read(step), ""
    except SealError as error:
        return None, f"its record {error}"


def _why(entry: CachedStep | None, identity: Mapping[str, Any], step: Step, worker: Worker) -> str:
    """Why a step has to run, in words; "" where its cached result can be used."""
    if entry is None:
        return "not run before"
    if entry.fingerprint != fingerprint(identity):
        changed = differences(entry.identity, identity)
        first = changed[0][0] if changed else "its identity"
        return f"{_named(first)} changed{_more(len(changed) - 1)}"
    if not worker.intact(step, entry.result):
        return "what it left in the store is gone or was changed"
    return ""


def _named(path: str) -> str:
    part, _, name = path.partition(".")
    name = name.removeprefix("stored.").removeprefix("training.")
    return {"inputs": f"the result of its {name}", "sources": f"its {name}", "options": name}.get(part, path)


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def _completed(identity: Mapping[str, Any], after: Mapping[str, str]) -> dict[str, Any]:
    """The identity with sources that were not here before the step ran, such as weights that it downloaded."""
    sources = {name: value or after.get(name, "") for name, value in identity["sources"].items()}
    return {**identity, "sources": sources}
