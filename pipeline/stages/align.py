"""Stage 3: light heads trained with STRUCTURE straight from the cached shards."""

from __future__ import annotations

from dataclasses import replace

from structure.pipeline.aligners.aligned import Aligned
from structure.pipeline.aligners.aligner_method import method
from structure.pipeline.aligners.options import all_option_names
from structure.pipeline.alignment.identified_run import IdentifiedRun
from structure.pipeline.alignment.training_inputs import (
    ChosenLayers,
    TrainingInputs,
    asked_rows,
    pairs_ahead,
    weights_bytes,
)
from structure.pipeline.keyword_form import keyword_form
from structure.pipeline.model_selection.options import SELECTION_OPTIONS
from structure.pipeline.pairing.labelled_name import Labelled
from structure.pipeline.run_context import RunContext
from structure.pipeline.stage_requests.align import AlignRequest
from structure.pipeline.work_estimate import WorkEstimate, require_space

__all__ = ["SHORT_TRAINING", "Aligned", "align", "is_quick", "plan", "run"]

SHORT_TRAINING = 2_000_000
"""Pairs up to which nobody is asked about a training: on two cores they take half an hour with R_S, of batches of
4,096."""

SHORT_SELECTION = 3600.0
"""Seconds of selections, together, up to which nobody is asked."""


def plan(request: AlignRequest, context: RunContext, *, runs: int = 1, probe_from: int = 0) -> list[WorkEstimate]:
    """All `runs` of a training together, at most: one that stops early takes less. Raises as `run` does.

    Time is probed where the epochs of all runs see `probe_from` pairs or more (a pair of token lists counts as 16).
    """
    from structure.pipeline.alignment.estimate import estimate_training

    parts = [estimate_training(request, context, runs=runs, probe_from=probe_from)]
    require_space(context.store, parts)
    return parts


def is_quick(request: AlignRequest, context: RunContext, *, runs: int = 1) -> bool:
    """Whether it is no long work: from the sizes of the features alone, or because the same run made the aligner
    before. Raises StructureError as `run` does."""
    request = _on_device(request, context)
    chosen = ChosenLayers.of(request, context)
    pairs = len(asked_rows(request, chosen, context))
    disk = runs * weights_bytes(request, chosen, pairs)
    require_space(context.store, [WorkEstimate("", pairs, runs, disk, 0, None)])
    if request.auto is not None and not request.auto.weights:
        is_short = runs * request.auto.budget <= SHORT_SELECTION
    else:
        is_probed = method(request.options.method).use_of_unpaired(request.options) != "required"
        is_short = not is_probed or runs * pairs_ahead(request, chosen, pairs) < SHORT_TRAINING
    if is_short or runs > 1:
        return is_short
    quiet = context.without_notes()
    return IdentifiedRun.of(request, quiet, TrainingInputs.of(request, quiet)).made_before(request, quiet) is not None


def run(request: AlignRequest, context: RunContext) -> Aligned:
    """Train and save; an aligner that the same run made is taken as it is. A run that was killed goes on from its
    checkpoint when it is started again.

    The aligner records the fingerprints of the features that it fits. Raises StructureError for what is not in the
    store, for too few pairs, and for rows that `memory` does not hold.
    """
    request = _on_device(request, context)
    for text in request.add:
        Labelled.parse(text)  # what is wrong is told before anything is read
    inputs = TrainingInputs.of(request, context if request.auto is None else context.without_notes())
    if request.auto is None:
        inputs = inputs.bounded(request, context)
    this = IdentifiedRun.of(request, context, inputs)
    before = this.made_before(request, context)
    if before is not None:
        return before
    from structure.pipeline.alignment.train import select_and_train, train

    if request.auto is None:
        return train(request, context, inputs, this)
    return select_and_train(request, request.auto, context, inputs, this)


def _on_device(request: AlignRequest, context: RunContext) -> AlignRequest:
    """The request with the context's device where its options name none."""
    if request.options.device != "auto" or context.device == "auto":
        return request
    return replace(request, options=replace(request.options, device=context.device))


align = keyword_form(
    "align",
    AlignRequest,
    run,
    plan,
    about="Train an aligner from the cached shards, with the regulariser R_S of STRUCTURE or without.",
    more=[*all_option_names(), *SELECTION_OPTIONS],
    build=AlignRequest.of,
)
