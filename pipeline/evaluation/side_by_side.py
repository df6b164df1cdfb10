"""The aligners of a run on one task, several at a time: what they reach and tell comes as if one followed the other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from threading import Event as Flag
from typing import NoReturn

import torch

from structure.pipeline.device import cores, one_thread
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.evaluation.task import TaskRows
from structure.pipeline.evaluation.task_kinds import TRAINED, TaskKind
from structure.pipeline.extraction.stored_or_extracted import FeatureSource
from structure.pipeline.metrics.score import TaskScores
from structure.pipeline.progress import Event, Listener
from structure.store.errors import NotPresentError, StructureError

AT_ONCE = 4
"""Aligners that are judged at a time, at most: what each holds in memory adds up."""

ROWS = 10_000
"""Samples of a task up to which aligners are judged side by side. The products of more fill every core by themselves,
and are not stopped before their end."""

Outcome = TaskScores | NotPresentError
"""What an aligner reached, or which of its features are neither here nor to be made."""


def judge_each(
    kind: TaskKind, question: TaskRows, subjects: Sequence[EvaluatedAligner], source: FeatureSource, *, seed: int
) -> Generator[Outcome, None, None]:
    """The outcome of each aligner, in their order. Features are found and made one after the other on the caller's
    thread, which hears all events, too. Raises what the first aligner with a fault raises, after the outcomes of those
    before it; close the iterator to stop the others."""
    judges = (_prepared(kind, question, subject, source, seed) for subject in subjects)
    on_event = source.context.on_event
    small = source.device == "cpu" and question.task.kind not in TRAINED and len(question.samples) <= ROWS
    at_once = min(cores(), len(subjects), AT_ONCE) if small else 1
    if at_once == 1:
        yield from (judge(on_event) for judge in judges)
    else:
        yield from _side_by_side(list(judges), on_event, at_once)


def _prepared(
    kind: TaskKind, question: TaskRows, subject: EvaluatedAligner, source: FeatureSource, seed: int
) -> Callable[[Listener], Outcome]:
    """What is left to compute; a fault is kept until the aligner's turn comes."""
    try:
        return kind(question, subject, source, seed=seed)
    except NotPresentError as error:
        return partial(_absent, error)
    except StructureError as error:
        return partial(_fault, error)


def _absent(error: NotPresentError, on_event: Listener) -> NotPresentError:
    return error


def _fault(error: StructureError, on_event: Listener) -> NoReturn:
    raise error


def _side_by_side(
    judges: Sequence[Callable[[Listener], Outcome]], on_event: Listener, at_once: int
) -> Generator[Outcome, None, None]:
    """`at_once` at a time, each on a thread. Where the caller leaves, those that run stop with the next event that they
    tell, and no other begins."""
    left, told = Flag(), [SimpleQueue[Event | None]() for _ in judges]

    def judged(judge: Callable[[Listener], Outcome], queue: SimpleQueue[Event | None]) -> Outcome:
        def tell(event: Event) -> None:
            if left.is_set():
                raise _LeftError
            queue.put(event)

        try:
            return judge(tell)
        finally:
            queue.put(None)

    share = (max(1, cores() // at_once),)
    with one_thread(), ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=share) as pool:
        futures = [pool.submit(judged, judge, queue) for judge, queue in zip(judges, told, strict=True)]
        try:
            for future, queue in zip(futures, told, strict=True):
                while (event := queue.get()) is not None:
                    on_event(event)
                yield future.result()
        finally:
            left.set()
            for future in futures:
                future.cancel()


class _LeftError(Exception):
    """Nobody waits for the outcome any more."""
