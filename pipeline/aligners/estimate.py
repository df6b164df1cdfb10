"""How long a training run takes at most: its own first epochs are timed, on batches of the size that it will have."""

from __future__ import annotations

import contextlib
import math
import os
import time
from pathlib import Path
from typing import Any

from structure.pipeline.aligners.aligner_method import fit, method
from structure.pipeline.aligners.closed_form_cost import recall_operations, speed
from structure.pipeline.aligners.held_out import held_out_pairs
from structure.pipeline.aligners.lr_range_test import FALL_BACK, ITERATIONS
from structure.pipeline.aligners.option_groups import BatchOptions, GradientOptions
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.progress import Event, Progress

ENOUGH_SECONDS, ENOUGH_EPOCHS = 2.0, 10
"""Epochs are timed until they took that long, or are so many; one that takes longer is timed alone."""

PROBED, PROBED_TOKENS = 2048, 256
"""Pairs of a probe, or two batches if these are more; of tokens fewer, in four batches."""


BATCH_MATRICES = 6
"""Matrices of all pairs of a batch that R_S holds at once."""


class _EnoughError(Exception):
    """The probe has seen what it came for."""


def probed_pairs(options: TrainingOptions, *, tokens: bool) -> int:
    """How many pairs `seconds_at_most` should be given, where there are so many."""
    if tokens:
        return PROBED_TOKENS
    in_batches = isinstance(options, GradientOptions) or options.uses_structure
    if not isinstance(options, BatchOptions) or not in_batches:
        return PROBED
    return max(PROBED, math.ceil(2 * options.batch / (1 - options.validation)))


def seconds_at_most(vision: Any, text: Any, options: TrainingOptions, *, pairs: int) -> float:
    """Seconds of a run on `pairs` pairs, of which both sides hold some or all; a run that stops early takes less.

    An epoch grows with the number of batches, a closed form with the number of pairs. Raises as `fit` does.
    """
    if isinstance(options, BatchOptions) and method(options.method).reads(options) == "tokens":
        options = options.changed(batch=min(options.batch, PROBED_TOKENS // 4))
    given, share = len(vision), pairs / len(vision)
    operations = closed_operations(options, widths=(vision.shape[1], text.shape[1]), pairs=pairs)
    if operations is not None and not options.uses_structure:
        return operations / speed()
    before, each, epochs = _timed(vision, text, options)
    # Of a closed form what half the pairs save says what more of them cost.
    if not epochs or not isinstance(options, BatchOptions):
        half = 0.0
        if before < ENOUGH_SECONDS:  # the first fit of a process begins slowly: it is fitted again
            half = _timed(vision[: given // 2], text[: given // 2], options)[0]
            before = _timed(vision, text, options)[0]
        return (before + max(before - half, 0.0) * 2 * (share - 1)) * (1 + options.refit)
    seen, of_all = (
        method(options.method).epoch_pairs(options, pairs=round(count * (1 - options.validation)))
        for count in (given, pairs)
    )
    batches, share = math.ceil(seen / options.batch), of_all / seen
    if operations is not None:
        return operations / speed() + epochs * each * share * (1 + options.refit)
    tested = isinstance(options, GradientOptions) and options.learning_rate is None
    range_test = ITERATIONS * each / batches if tested else 0.0
    return before * share + range_test + epochs * each * share * (1 + options.refit)


def closed_operations(options: TrainingOptions, *, widths: tuple[int, int], pairs: int) -> float | None:
    """Operations of a closed form to all `pairs`, the recall of those that it holds out among them, without epochs;
    None where the method does not know."""
    aligning, held = method(options.method), held_out_pairs(pairs, options.validation)
    found = aligning.operations(options, widths=widths, pairs=pairs - held)
    if found is None:
        return None
    dim = aligning.dim(options, widths=widths, pairs=pairs - held)
    return found * (1 + options.refit) + recall_operations(held, dim)


def bytes_at_most(options: TrainingOptions, *, widths: tuple[int, int], pairs: int, held: int) -> int:
    """Bytes that this program holds at once while it fits so many pairs, of which it holds `held` bytes; the program
    itself, as large as it is now, is part of them."""
    aligning = method(options.method)
    out = held_out_pairs(pairs, options.validation)
    embeddings = 16 * out * aligning.dim(options, widths=widths, pairs=pairs)
    batch = options.batch if isinstance(options, BatchOptions) and options.uses_structure else 0
    similarities = BATCH_MATRICES * 4 * min(batch, pairs) ** 2
    return program_bytes() + held + embeddings + similarities + aligning.workspace(options, widths=widths, pairs=pairs)


def program_bytes() -> int:
    """Resident bytes of this process; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _timed(vision: Any, text: Any, options: TrainingOptions) -> tuple[float, float, int]:
    """(seconds before the epochs, seconds of one, how many there are at most); no epochs: seconds of all of it."""
    ends: list[float] = []
    total = 0

    def watch(event: Event) -> None:
        nonlocal total
        if isinstance(event, Progress):
            ends.append(time.perf_counter())
            total = event.total
            if len(ends) > 1 and (ends[-1] - ends[0] > ENOUGH_SECONDS or len(ends) > ENOUGH_EPOCHS):
                raise _EnoughError
            if ends[0] - began > ENOUGH_SECONDS:
                raise _EnoughError

    # The learning-rate range test is as many steps as it has rates: it need not be seen.
    given = options.changed(refit=False)
    if isinstance(given, GradientOptions) and given.learning_rate is None:
        given = given.changed(learning_rate=FALL_BACK)
    began = time.perf_counter()
    with contextlib.suppress(_EnoughError):
        fit(vision, text, options=given, on_event=watch)
    if not ends:
        return time.perf_counter() - began, 0.0, 0
    each = (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else ends[0] - began
    return max(ends[0] - began - each, 0.0), each, total
