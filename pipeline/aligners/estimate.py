"""How long a training run takes at most: its own first epochs are timed, on batches of the size that it will have."""

from __future__ import annotations

import contextlib
import math
import time
from typing import Any

from structure.pipeline.aligners.aligner_method import fit, method
from structure.pipeline.aligners.lr_range_test import FALL_BACK, ITERATIONS
from structure.pipeline.aligners.option_groups import BatchOptions, GradientOptions
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.progress import Event, Progress

ENOUGH_SECONDS, ENOUGH_EPOCHS = 2.0, 10
"""Epochs are timed until they took that long, or are so many; one that takes longer is timed alone."""

PROBED, PROBED_TOKENS = 2048, 256
"""Pairs of a probe, or two batches if these are more; of tokens fewer, in four batches."""


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
    before, each, epochs = _timed(vision, text, options)
    # Of a closed form what half the pairs save says what more of them cost.
    if not epochs or not isinstance(options, BatchOptions):
        half = 0.0
        if before < ENOUGH_SECONDS:  # the first fit of a process begins slowly: it is fitted again
            half = _timed(vision[: given // 2], text[: given // 2], options)[0]
            before = _timed(vision, text, options)[0]
        return (before + max(before - half, 0.0) * 2 * (share - 1)) * (1 + options.refit)
    batches = math.ceil(given * (1 - options.validation) / options.batch)
    tested = isinstance(options, GradientOptions) and options.learning_rate is None
    range_test = ITERATIONS * each / batches if tested else 0.0
    return before * share + range_test + epochs * each * share * (1 + options.refit)


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
