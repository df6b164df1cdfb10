"""Runs of a recipe that are identical, as where a ranking chooses the last layers: one is trained, the other copied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from structure.pipeline.aligners.aligner_runs import RECORD, WEIGHTS, file_beside, run_of
from structure.pipeline.aligners.model_card import CARD, card
from structure.pipeline.aligners.options import TrainingOptions, applicable
from structure.pipeline.recipe.run_cache import StepResult
from structure.pipeline.recipe.steps import Step
from structure.pipeline.results import remove_results
from structure.store import Store

LAYER_KEYS = ("aligner", "layers", "place", "of")
"""Options of a training step that only say what its aligner is called and how its layers are chosen."""


def candidates(step: Step, steps: Iterable[Step], results: Mapping[str, StepResult]) -> list[Step]:
    """The finished training steps that differ from this one at most in their layers and their learning rate."""
    return [
        other
        for other in steps
        if other.stage == "align"
        and other.key != step.key
        and other.key in results
        and _settings(other) == _settings(step)
        and all(other.needs.get(side) == step.needs.get(side) for side in ("vision", "text"))
    ]


def identical_step(
    step: Step, others: Iterable[Step], results: Mapping[str, StepResult], layers: Mapping[str, str]
) -> Step | None:
    """The first of `others` with the same layers whose learning rate was found, or given, as that of this step."""
    for other in others:
        trained = results[other.key].result
        given = results[step.needs["rate"]].result["rate"] if "rate" in step.needs else None
        same_rate = trained["rate"] == given if given is not None else "rate" not in other.needs
        if trained["layers"] == layers and same_rate:
            return other
    return None


def copy_aligner(store: Store, source: str, name: str, chosen_by: str) -> None:
    """The aligner `source` once more as `name`; its record, which vouches for the rest, goes first and comes last."""
    from structure.pipeline.aligners.aligner import load_aligner

    old, new = store.folder("aligners", source), store.folder("aligners", name)
    aligner = load_aligner(old).describe(layers_chosen_by=chosen_by, identical_to=source)
    if run_of(store, name) not in (None, aligner.metadata.get("run")):
        remove_results(store, name)
    if new.exists(RECORD):
        new.remove(RECORD)
    new.remove_tree("")
    files = {file: file_beside(store, source, file) for file in old.keys("") if file not in (WEIGHTS, RECORD, CARD)}
    new.write(CARD, card(aligner, name).encode())
    aligner.save(new, beside={file: data for file, data in files.items() if data is not None})


def _settings(step: Step) -> dict[str, Any]:
    """The options that say something of the weights: none that is idle, as that of R_S in a run without it."""
    others = {key: value for key, value in step.options.items() if key not in (*LAYER_KEYS, "training", "preset")}
    if step.selects:
        return {**others, "training": dict(step.options["training"])}
    options = TrainingOptions.preset(step.options["preset"], **applicable(step.options["training"]))
    stated = {name: value for name, value in options.to_dict().items() if name not in options.idle}
    return {**others, "training": stated}
