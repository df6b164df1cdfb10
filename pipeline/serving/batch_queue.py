"""Questions of many threads, answered in batches by one thread, which alone uses the encoders.

What waits when the thread is free is taken together: a lone question does not wait for others, and many at once share
the encoder's passes.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from structure.pipeline.serving.refused import RefusedError

Question = TypeVar("Question")
Reply = TypeVar("Reply")


class BatchQueue(Generic[Question, Reply]):
    """`answer` gets at most `most` questions at a time; at most `waiting` wait, and further ones are refused (503)."""

    def __init__(self, answer: Callable[[Sequence[Question]], Sequence[Reply]], *, most: int, waiting: int) -> None:
        self.answer, self.most = answer, most
        self._waiting: queue.Queue[tuple[Question, Future[Reply]] | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._work, name="structure-encoder", daemon=True)
        self._thread.start()

    def submit(self, question: Question) -> Future[Reply]:
        """The answer to come. Raises RefusedError where too many wait."""
        reply: Future[Reply] = Future()
        try:
            self._waiting.put_nowait((question, reply))
        except queue.Full:
            raise RefusedError(503, f"{self._waiting.maxsize} searches wait already. Ask again in a moment.") from None
        return reply

    def close(self) -> None:
        """End the thread after what waits is answered."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, ended = [first], False
            while len(batch) < self.most and not self._waiting.empty():  # nobody else takes from it
                following = self._waiting.get()
                if following is None:
                    ended = True
                    break
                batch.append(following)
            self._reply([(question, reply) for question, reply in batch if reply.set_running_or_notify_cancel()])
            if ended:
                return

    def _reply(self, batch: Sequence[tuple[Question, Future[Reply]]]) -> None:
        """Answer them together; where that fails each alone, so that one question spoils no other."""
        if not batch:
            return
        try:
            replies = self.answer([question for question, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:
                for one in batch:
                    self._reply([one])
            return
        for (_, future), reply in zip(batch, replies, strict=True):
            future.set_result(reply)
