"""Running a recipe: every step whose outcome is not in the ledger, in order, each kept as soon as it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from structure.pipeline.extraction.estimate import Consent
from structure.pipeline.progress import Listener, Note, Progress, silent
from structure.pipeline.recipe.run_cache import CachedStep, RunCache, StepResult, identity_of
from structure.pipeline.recipe.schema import Recipe, load_recipe
from structure.pipeline.recipe.step_runner import StepRunner
from structure.pipeline.recipe.steps import Step, steps_of
from structure.pipeline.recipe.summary import Summary, summarise
from structure.store import Store, open_store
from structure.store.fingerprint import differences, fingerprint
from structure.store.lease import Lease

State = Literal["done", "due", "waits"]


@dataclass(frozen=True)
class StepStatus:
    """Where a step stands. `done`: its outcome is kept; `due`: it would run; `waits`: it needs a step that would run,
    and runs too if that gives another outcome than before. `why` says so in words, `seconds` what a done one took."""

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
    """What a recipe gave: its summary, the report, and what became of each step (`ran` or `kept`).

    `metrics` are those that its tasks and its correlation are about; the summary has all."""

    name: str
    summary: Summary
    report: str
    steps: tuple[tuple[str, Literal["ran", "kept"], str], ...]
    absent: tuple[Mapping[str, str], ...]
    metrics: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The document of `structure run --json`."""
        return {
            "recipe": self.name,
            **self.summary.to_json(),
            "report": self.report,
            "seconds": dict(self.summary.seconds),
            "steps": [{"step": key, "was": was, "why": why} for key, was, why in self.steps],
            "absent": [dict(entry) for entry in self.absent],
        }


class Worker(Protocol):
    """What does the steps; `StepRunner` with the real stages."""

    def sources(self, step: Step) -> dict[str, str]: ...
    def intact(self, step: Step, outcome: StepResult) -> bool: ...
    def batch(self, step: Step) -> int: ...
    def work(self, steps: Sequence[Step], outcomes: Mapping[str, StepResult]) -> list[StepResult]: ...


def run(
    recipe: str | Recipe,
    *,
    store: Store | str | Path,
    data_root: str | Path = "data",
    device: str = "auto",
    trust_remote_code: bool = False,
    changes: Sequence[str] = (),
    consent: Consent | None = None,
    on_event: Listener = silent,
) -> RecipeRun:
    """Run a shipped recipe by name, or a YAML file by path, from where an earlier run stopped.

    A step is done again only where something that it depends on has changed: what the recipe says about it, the data,
    weights or suite that it reads, or the outcome of a step that it needs. `changes` are as of `load_recipe`; `consent`
    is asked before an encoder runs, and raises to stop. No recipe can ask for code that comes with a model:
    `trust_remote_code` is the caller's to say. Raises StructureError for what the recipe cannot say, HeldError where
    another run of the same recipe is going on, and whatever the stages raise; what was finished by then is kept.
    """
    target = store if isinstance(store, Store) else open_store(store)
    plan = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, changes)
    workshop = StepRunner(
        plan,
        target,
        data_root=data_root,
        device=device,
        trust_remote_code=trust_remote_code,
        consent=consent,
        on_event=on_event,
    )
    ledger = RunCache(target, plan.name)
    with Lease(target.files, ledger.lock, what=f"The recipe {plan.name}"):
        outcomes, told = carry_out(steps_of(plan), ledger, workshop, on_event=on_event)
    absent = {
        entry["dataset"]: entry
        for key, outcome in outcomes.items()
        if key.startswith("evaluate/")
        for entry in outcome.result["absent"]
    }
    page = outcomes["report"].result["report"]
    metrics = tuple(dict.fromkeys([*(plan.correlate or {}).get("metrics", ()), *workshop.metrics()]))
    return RecipeRun(plan.name, summarise(plan, outcomes), page, tuple(told), tuple(absent.values()), metrics)


def carry_out(
    steps: Sequence[Step], ledger: RunCache, worker: Worker, *, on_event: Listener = silent
) -> tuple[dict[str, StepResult], list[tuple[str, Literal["ran", "kept"], str]]]:
    """Do what is due, in order. Returns every step's outcome, and for each whether it ran, and why."""
    outcomes: dict[str, StepResult] = {}
    told: list[tuple[str, Literal["ran", "kept"], str]] = []
    for group in _groups(steps):
        due: list[tuple[Step, dict[str, Any]]] = []
        for step in group:
            identity = identity_of(step, _inputs(step, outcomes), worker.sources(step))
            entry = ledger.read(step)
            why = _why(entry, identity, step, worker)
            if entry is not None and not why:
                outcomes[step.key] = entry.outcome
                told.append((step.key, "kept", ""))
            else:
                due.append((step, identity))
                told.append((step.key, "ran", why))
                if entry is not None:
                    on_event(Note(f"{step.key} is done again: {why}"))
        size = worker.batch(group[0])
        for part in (due[start : start + size] for start in range(0, len(due), size)):
            began = time.perf_counter()
            made = worker.work([step for step, _ in part], outcomes)
            seconds = (time.perf_counter() - began) / len(part)
            for (step, identity), outcome in zip(part, made, strict=True):
                timed = StepResult(outcome.result, outcome.digest, seconds)
                outcomes[step.key] = timed
                ledger.keep(step, _completed(identity, worker.sources(step)), timed)
        on_event(Progress("steps of the recipe", len(outcomes), len(steps), "steps"))
    return outcomes, told


@dataclass(frozen=True)
class RunOutlook:
    """Where every step of a recipe stands, whether a run of it is `going` on, and which datasets of its evaluation are
    `absent` (`what`, `how_to_get`)."""

    recipe: Recipe
    standings: tuple[StepStatus, ...]
    going: bool
    absent: tuple[Mapping[str, str], ...]


def outlook(
    recipe: str | Recipe,
    *,
    store: Store | str | Path,
    data_root: str | Path = "data",
    changes: Sequence[str] = (),
) -> RunOutlook:
    """What a run of the recipe would find; runs nothing."""
    target = store if isinstance(store, Store) else open_store(store)
    plan = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, changes)
    ledger = RunCache(target, plan.name)
    worker = StepRunner(plan, target, data_root=data_root, device="cpu", on_event=silent)
    going = target.files.exists(ledger.lock) and not Lease(target.files, ledger.lock, what="").is_stale()
    return RunOutlook(plan, tuple(standings(steps_of(plan), ledger, worker)), going, tuple(worker.absent()))


def standings(steps: Sequence[Step], ledger: RunCache, worker: Worker) -> list[StepStatus]:
    """The standing of every step, each after those that it needs."""
    found: dict[str, StepStatus] = {}
    outcomes: dict[str, StepResult] = {}
    for step in steps:
        entry = ledger.read(step)
        if entry is not None:
            outcomes[step.key] = entry.outcome
        waiting = [key for key in step.needs.values() if found[key].state != "done"]
        known = {role: outcomes[key].digest for role, key in step.needs.items() if key in outcomes}
        why = _why(entry, identity_of(step, known, worker.sources(step)), step, worker)
        if why:
            found[step.key] = StepStatus(step, "due", why)
        elif waiting:
            found[step.key] = StepStatus(step, "waits", f"needs {waiting[0]}" + _more(len(waiting) - 1))
        else:
            found[step.key] = StepStatus(step, "done", "", entry.outcome.seconds if entry else None)
    return list(found.values())


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


def _inputs(step: Step, outcomes: Mapping[str, StepResult]) -> dict[str, str]:
    return {role: outcomes[key].digest for role, key in step.needs.items()}


def _why(entry: CachedStep | None, identity: Mapping[str, Any], step: Step, worker: Worker) -> str:
    """Why a step has to run, in words; "" where its outcome can be kept."""
    if entry is None:
        return "not done before"
    if entry.fingerprint != fingerprint(identity):
        changed = differences(entry.identity, identity)
        first = changed[0][0] if changed else "its identity"
        return f"{_named(first)} changed{_more(len(changed) - 1)}"
    if not worker.intact(step, entry.outcome):
        return "what it left in the store is gone or was changed"
    return ""


def _named(path: str) -> str:
    part, _, name = path.partition(".")
    return {"inputs": f"the outcome of its {name}", "sources": f"its {name}", "options": name}.get(part, path)


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def _completed(identity: Mapping[str, Any], after: Mapping[str, str]) -> dict[str, Any]:
    """The identity with sources that were not here before the step ran, such as weights that it downloaded."""
    sources = {name: value or after.get(name, "") for name, value in identity["sources"].items()}
    return {**identity, "sources": sources}
