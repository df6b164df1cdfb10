"""Which training steps of a recipe go through their epochs together (see `aligners/trained_together`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from structure.pipeline.aligners.option_groups import PairOptions
from structure.pipeline.aligners.options import TrainingOptions, applicable
from structure.pipeline.recipe.identical import candidates
from structure.pipeline.recipe.run_cache import StepResult
from structure.pipeline.recipe.steps import Step
from structure.pipeline.stage_requests.align import published
from structure.store import FeatureSet
from structure.store.errors import StructureError

MOST = 16
"""Trainings that go together, at most."""

MOST_BYTES = 1 << 30
"""Bytes of features that they hold together, at most: each has its own pairs."""

Chosen = tuple[tuple[FeatureSet, FeatureSet], str, str, str]
"""The feature sets of a training step, the names of both layers, and how these are chosen."""


def goes_with_others(step: Step) -> bool:
    """Whether a step trains in steps that several runs can take as one; a method that is selected is no one run."""
    if step.stage != "align" or step.selects or "memory" in step.options.get("stored", {}):
        return False
    training = applicable(published(step.options["training"]))
    return isinstance(TrainingOptions.preset(step.options["preset"], **training), PairOptions)


def needed_results(step: Step, results: Mapping[str, StepResult]) -> dict[str, StepResult]:
    """The results of the steps that a step needs, by their role."""
    return {role: results[key] for role, key in step.needs.items()}


def train_steps(
    steps: Sequence[Step],
    results: Mapping[str, StepResult],
    *,
    chosen: Callable[[Step, Mapping[str, StepResult]], Chosen],
    train: Callable[[Step, Mapping[str, StepResult]], StepResult],
) -> list[StepResult]:
    """`train` each of the `steps` with the results before it, together where that can be; one result each.

    What is finished when one fails, or the program is stopped, is saved, and found when its step comes again.
    """
    from structure.pipeline.aligners.trained_together import train_together

    known, waiting, layers = dict(results), list(steps), {}
    for step in steps:
        with suppress(StructureError):  # the training says why
            layers[step.key] = chosen(step, needed_results(step, results))[:3]
    while waiting:
        together = _together(waiting, results, layers)
        made = train_together([partial(train, step, known) for step in together])
        for step, result in zip(together, made, strict=True):
            if isinstance(result, StructureError):
                raise result
            known[step.key] = result
            waiting.remove(step)
    return [known[step.key] for step in steps]


def _together(
    steps: Sequence[Step], results: Mapping[str, StepResult], layers: Mapping[str, tuple[Any, ...]]
) -> list[Step]:
    """The first of the `steps`, and those that go with it: none that would be identical to another, whose layers are
    the same, as one is then trained and the other copied."""
    together, held = [steps[0]], _bytes(layers.get(steps[0].key))
    for step in steps[1:]:
        held += _bytes(layers.get(step.key))
        if held > MOST_BYTES:
            break
        alike = candidates(step, together, {**results, **{one.key: StepResult({}, "") for one in together}})
        if not any(_named(layers.get(one.key)) == _named(layers.get(step.key)) for one in alike):
            together.append(step)
    return together


def _named(layers: tuple[Any, ...] | None) -> tuple[str, ...]:
    """Feature sets and layers by name: a feature set that is opened twice is two objects."""
    if layers is None:
        return ()
    sets, *names = layers
    return (*(features.key for features in sets), *names)


def _bytes(layers: tuple[Any, ...] | None) -> int:
    """Bytes of both layers in memory; 0 for what is not known, whose training will say why."""
    if layers is None:
        return 0
    sets, *names = layers
    pairs: int = min(features.manifest.rows for features in sets)
    widths: list[int] = [
        features.manifest.column(layer).width
        for features, name in zip(sets, names, strict=True)
        for layer in name.split("+")
    ]
    return 4 * pairs * sum(widths)
