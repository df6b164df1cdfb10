"""Work on every two of some things, side by side, where nothing takes part in two works at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Condition

import torch

from structure.pipeline.device import one_thread

Two = tuple[int, int]


class EachTwo:
    """Pairs `(i, j)`, i = j among them, that wait for `meet`; `done` of each i follows the last pair that names it.

    Numbers from `count` on are no things that anything is done to: any number of pairs may name them at the same time.
    """

    def __init__(
        self, pairs: Iterable[Two], count: int, meet: Callable[[int, int], None], done: Callable[[int], None]
    ) -> None:
        self._waiting, self._count, self._meet, self._done = list(pairs), count, meet, done
        self._left = [sum(i in pair for pair in self._waiting) for i in range(count)]
        self._finished: list[int] = []
        self._busy: set[int] = set()
        self._changed = Condition()

    def run(self, at_once: int) -> None:
        """All of it, in `at_once` threads with one torch thread each; where it is one, torch has its threads. After an
        exception no more is begun."""
        if at_once == 1:
            self._work()
            return
        with one_thread(), ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                for worker in [pool.submit(self._work) for _ in range(at_once)]:
                    worker.result()
            finally:
                self._end()

    def _work(self) -> None:
        try:
            while task := self._next():
                if len(task) == 1:
                    self._done(*task)
                else:
                    self._meet(*task)
                    self._release(task)
        except BaseException:
            self._end()
            raise

    def _next(self) -> tuple[int, ...]:
        """What can be done now, `(i,)` that is finished or a pair; empty where nothing is left."""
        with self._changed:
            while True:
                if self._finished:
                    return (self._finished.pop(),)
                for place, pair in enumerate(self._waiting):
                    if not self._busy.intersection(pair):
                        self._busy.update(i for i in pair if i < self._count)
                        return self._waiting.pop(place)
                if not self._busy:
                    return ()
                self._changed.wait()

    def _release(self, pair: tuple[int, ...]) -> None:
        with self._changed:
            for i in {i for i in pair if i < self._count}:
                self._busy.discard(i)
                self._left[i] -= 1
                if not self._left[i]:
                    self._finished.append(i)
            self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            self._waiting, self._finished, self._busy = [], [], set()
            self._changed.notify_all()
