"""Trainings that go through their epochs together, so that those of one shape are stacked.

Each training is a call of its own in a thread of its own, of which one at a time runs: until it asks for an epoch, or
ends. Once all have, the epochs are trained, those of one shape as one, and each call goes on with its row. So nothing
runs at the same time as something else, and a training is the same code alone and together with others: its range
test, checkpoints, early stopping and files are its own. One that ends early, or fails, leaves the others as they are.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from structure.pipeline.aligners.stacked_epoch import StackedEpoch, shape_of
from structure.pipeline.aligners.trainer import Trainer
from structure.store.errors import StructureError

Made = TypeVar("Made")
Row = dict[str, float]


class _Stopped(BaseException):
    """Tells a training that it will get no further epoch."""


class _Call(Generic[Made]):
    """One training: what it asks for, what it is given, and what it ended with."""

    def __init__(self, work: Callable[[], Made]) -> None:
        self.work = work
        self.asks: tuple[Trainer, int] | None = None
        self.given: Row | BaseException | None = None
        self.made: Made | None = None
        self.error: StructureError | None = None
        self._fault: BaseException | None = None
        self._stops = False
        self._turn, self._pause = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=contextvars.copy_context().run, args=(self._run,), daemon=True)

    def start(self) -> None:
        """Run until it asks for an epoch or ends. Raises what it raises, but for a StructureError."""
        self._thread.start()
        self._wait()

    def go_on(self, given: Row | BaseException) -> None:
        """Give it what it asked for, and run on as `start` does."""
        self.asks, self.given = None, given
        self._turn.release()
        self._wait()

    def stop(self) -> None:
        """Let it end where it asks for its next epoch, if it has not ended."""
        self._stops = True
        self._turn.release()
        if self._thread.ident is not None:
            self._thread.join()

    def _wait(self) -> None:
        self._pause.acquire()
        if self._fault is not None:
            raise self._fault

    def epoch(self, run: Trainer, number: int) -> Row:
        """Called by the training."""
        self.asks = run, number
        self._pause.release()
        self._turn.acquire()
        if self._stops:
            raise _Stopped
        if isinstance(self.given, BaseException):
            raise self.given
        assert self.given is not None
        return self.given

    def _run(self) -> None:
        _CALL.set(self)
        try:
            self.made = self.work()
        except StructureError as error:
            self.error = error
        except BaseException as error:
            self._fault = error
        self._pause.release()


_CALL: contextvars.ContextVar[_Call[Any] | None] = contextvars.ContextVar("training", default=None)


def train_epoch(run: Trainer, number: int) -> Row:
    """An epoch of a run, trained with those of others where `train_together` runs it; the row of its history."""
    call = _CALL.get()
    return run.epoch(number) if call is None else call.epoch(run, number)


def train_together(trainings: Sequence[Callable[[], Made]]) -> list[Made | StructureError]:
    """What each training returns, or the StructureError that it raised, in their order. Anything else that one raises
    ends them all, each where it has its next epoch to ask for."""
    if len(trainings) == 1:
        try:
            return [trainings[0]()]
        except StructureError as error:
            return [error]
    calls = [_Call(training) for training in trainings]
    try:
        for call in calls:
            call.start()
        while asking := [call for call in calls if call.asks is not None]:
            for call, row in zip(asking, _rows([call.asks for call in asking if call.asks]), strict=True):
                call.go_on(row)
    finally:
        for call in calls:
            call.stop()
    return [call.error or call.made for call in calls]  # type: ignore[misc]


def _rows(asked: Sequence[tuple[Trainer, int]]) -> list[Row | BaseException]:
    """The row of each epoch that is asked for, those of one shape trained as one."""
    shapes = [shape_of(run) for run, _ in asked]
    rows: dict[int, Row | BaseException] = {}
    for first, shape in enumerate(shapes):
        if first in rows:
            continue
        alike = [first] if shape is None else [other for other, its in enumerate(shapes) if its == shape]
        if len(alike) > 1:
            stacked = StackedEpoch([asked[one][0] for one in alike], [asked[one][1] for one in alike])
            rows.update(zip(alike, stacked.rows(), strict=True))
            continue
        run, number = asked[first]
        try:
            rows[first] = run.epoch(number)
        except Exception as error:
            rows[first] = error
    return [rows[one] for one in range(len(asked))]
