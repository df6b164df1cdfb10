"""The layers that a training step takes, from the rankings before it."""

from __future__ import annotations

from collections.abc import Mapping

from structure.pipeline.recipe.run_cache import StepResult
from structure.pipeline.recipe.spaced_pairs import layer_pair, spaced_pairs
from structure.pipeline.recipe.steps import Step
from structure.pipeline.stage_requests.align import AUTO


def layers_of(step: Step, needed: Mapping[str, StepResult]) -> str:
    """The layers of a training step as `align` takes them: `auto`, `last` or `VISION,TEXT`."""
    layers: str = step.options["layers"]
    if layers != "ranked":
        return layers
    if step.options["training"].get("method") == AUTO and "place" not in step.options:
        return "auto"
    ranking, options = needed["ranking"].result, step.options
    return ",".join(
        layer_pair(ranking) if "of" not in options else spaced_pairs(ranking, options["of"])[options["place"]]
    )
