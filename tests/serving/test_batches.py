"""Many at once: batches through one encoder, the same answers, a bounded queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from structure.pipeline.serving.app import WAITING
from structure.pipeline.serving.batch_queue import BatchQueue
from structure.pipeline.serving.refused import RefusedError
from structure.pipeline.serving.search_server import SearchServer
from tests.serving.conftest import ask, found

COUNT = 200


class Held:
    """Something that answers questions when it may, and remembers the batches."""

    def __init__(self, answer: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        self.answer, self.free, self.sizes = answer, threading.Event(), list[int]()

    def __call__(self, questions: Sequence[Any]) -> Sequence[Any]:
        assert self.free.wait(60)
        self.sizes.append(len(questions))
        return self.answer(questions)


def filled(queue: BatchQueue[Any, Any], count: int) -> None:
    """Until so many wait: one or a batch of them is with the encoder's thread already."""
    deadline = time.monotonic() + 60
    while queue._waiting.qsize() < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_two_hundred_at_once_share_the_encoder_and_get_their_own_answers(
    server: SearchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    things = [f"{colour} {shape}" for colour in ("red", "blue", "green", "yellow") for shape in ("circle", "square")]
    paths = [f"/api/search?q=a+{things[n % 8].replace(' ', '+')}&k={1 + n // 8}" for n in range(COUNT)]
    expected = [found(server, path)["hits"] for path in paths[-8:]]
    queue = server._app.questions
    held = Held(queue.answer)
    monkeypatch.setattr(queue, "answer", held)
    with ThreadPoolExecutor(COUNT) as pool:
        waiting = [pool.submit(ask, server, path) for path in paths]
        filled(queue, COUNT - 32)
        held.free.set()
        answers = [one.result() for one in waiting]
    assert {answer.status for answer in answers} == {200}
    for n, answer in enumerate(answers):
        hits, own = answer.document["hits"], expected[n % 8]
        assert len(hits) == 1 + n // 8
        assert [hit["score"] for hit in hits] == pytest.approx([hit["score"] for hit in own[: len(hits)]], abs=1e-5)
        assert hits[0]["id"] == own[0]["id"]
    assert sum(held.sizes) == COUNT
    assert len(held.sizes) <= 2 + COUNT // 32


def test_one_too_many_is_told_to_come_again(server: SearchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(question: object) -> None:
        raise RefusedError(503, f"{WAITING} searches wait already.")

    queue = BatchQueue[int, int](lambda questions: questions, most=2, waiting=3)
    held = Held(queue.answer)
    queue.answer = held  # type: ignore[method-assign]
    first = queue.submit(0)
    while queue._waiting.qsize():  # until the thread has it
        time.sleep(0.001)
    others = [queue.submit(number) for number in (1, 2, 3)]
    with pytest.raises(RefusedError, match="3 searches wait already"):
        queue.submit(4)
    held.free.set()
    assert [one.result(60) for one in (first, *others)] == [0, 1, 2, 3]
    assert held.sizes == [1, 2, 1]
    queue.close()
    monkeypatch.setattr(server._app.questions, "submit", full)
    answer = ask(server, "/api/search?q=a")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


def test_a_question_that_fails_spoils_no_other() -> None:
    def answer(questions: Sequence[int]) -> list[float]:
        return [1 / question for question in questions]

    queue = BatchQueue[int, float](answer, most=8, waiting=8)
    held = Held(answer)
    queue.answer = held  # type: ignore[method-assign]
    replies = [queue.submit(number) for number in (1, 2, 0, 4)]
    cancelled = queue.submit(5)
    cancelled.cancel()
    held.free.set()
    assert [reply.result(60) for reply in (replies[0], replies[1], replies[3])] == [1, 0.5, 0.25]
    with pytest.raises(ZeroDivisionError):
        replies[2].result(60)
    queue.close()
    assert not queue._thread.is_alive()


def test_an_error_of_the_program_is_told_to_both(server: SearchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(questions: object) -> None:
        raise ZeroDivisionError("broken on purpose")

    monkeypatch.setattr(server._app.questions, "answer", broken)
    answer = ask(server, "/api/search?q=a")
    assert answer.status == 500
    assert "broken" not in answer.body.decode()
    monkeypatch.undo()
    assert ask(server, "/api/search?q=a").status == 200
