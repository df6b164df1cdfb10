"""With one thread or with all: what is faster for a small computation is measured here, once, for it depends on the
model, the machine and who else computes on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from structure.pipeline.device import one_thread

ROUNDS = 5
LONG = 1.0
"""Seconds after which no further round is measured."""
GAIN = 0.8
"""All threads are taken only if they need less than this of the time of one: they also wait for each other, and longest
when others compute too."""


def threads_for(work: Callable[[], object]) -> Callable[[], AbstractContextManager[None]]:
    """The context, one thread or all, in which `work` is to run, from a few rounds that alternate."""
    contexts: tuple[Callable[[], AbstractContextManager[None]], ...] = (one_thread, nullcontext)
    seconds, began = [0.0, 0.0], time.perf_counter()
    work()  # what is loaded or compiled once
    for _ in range(ROUNDS):
        for number, context in enumerate(contexts):
            start = time.perf_counter()
            with context():
                work()
            seconds[number] += time.perf_counter() - start
        if time.perf_counter() - began > LONG:
            break
    return nullcontext if seconds[1] < GAIN * seconds[0] else one_thread
