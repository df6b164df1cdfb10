"""What a training takes, before it begins."""

from __future__ import annotations

import time

from structure.pipeline.aligners.aligner_method import method
from structure.pipeline.aligners.estimate import bytes_at_most, probed_pairs, seconds_at_most
from structure.pipeline.alignment.identified_run import IdentifiedRun
from structure.pipeline.alignment.train import READ_AT_ONCE
from structure.pipeline.alignment.training_inputs import (
    ChosenLayers,
    TrainingInputs,
    asked_rows,
    pairs_ahead,
    weights_bytes,
)
from structure.pipeline.model_selection.select import WEIGHED
from structure.pipeline.pairing.training_rows import fit_memory, held_bytes
from structure.pipeline.run_context import RunContext
from structure.pipeline.stage_requests.align import AlignRequest
from structure.pipeline.work_estimate import WorkEstimate

STARTED = time.process_time()
"""Processor seconds that this program took to start, with all that a training imports."""


def estimate_training(request: AlignRequest, context: RunContext, *, runs: int, probe_from: int) -> WorkEstimate:
    """All `runs` of a training together, at most: one that stops early takes less. Raises as a training does.

    Time is probed where the epochs of all runs see `probe_from` pairs or more.
    """
    options = request.options
    began = time.perf_counter()
    chosen = ChosenLayers.of(request, context)
    sides, sets, layers = chosen.sides, chosen.sets, chosen.names
    rows = asked_rows(request, chosen, context)
    if runs == 1:
        quiet = context.without_notes()
        IdentifiedRun.of(request, context, TrainingInputs.of(request, quiet))
    listing = time.perf_counter() - began  # of the pairs, which a run does as often as its own plan
    widths, aligning = sides.widths, method(options.method)
    what, disk = f"{sets[0].key} and {sets[1].key} (runs)", runs * weights_bytes(request, chosen, len(rows))
    tokens, seconds = sides.kind == "tokens", None
    weights = () if request.auto is None else request.auto.weights
    if request.auto is not None and not weights:
        memory = bytes_at_most(options, widths=widths, pairs=len(rows), held=sides.size(rows))
        seconds = runs * request.auto.budget
        what = f"selection of a method for {what}, within its budget"
    else:
        fits = tokens or fit_memory(sides, rows, options, request.memory, adds=bool(request.add))
        held = READ_AT_ONCE if tokens or not fits else held_bytes(sides, rows)
        memory = bytes_at_most(options, widths=widths, pairs=len(rows), held=held)
        what = f"{options.method} on {layers[0]} of {sets[0].key} and {layers[1]} of {sets[1].key} (runs)"
        is_probed = aligning.use_of_unpaired(options) != "required"  # of those the unpaired rows say the time
        if is_probed and runs * pairs_ahead(request, chosen, len(rows)) >= probe_from:
            began = time.perf_counter()
            probed = sides.read(rows.subset(probed_pairs(options, tokens=tokens), seed=0))
            reading = time.perf_counter() - began  # rows from everywhere: about one pass
            each = seconds_at_most(*probed, options, pairs=len(rows))
            if request.auto is not None:
                fit_of_some = seconds_at_most(*probed, options, pairs=min(len(rows), WEIGHED))
                each += min(request.auto.budget, request.auto.folds * len(weights) * fit_of_some)
            seconds = STARTED + runs * (2 * listing + reading + each)
    return WorkEstimate(what, len(rows), runs, disk, memory, seconds)
