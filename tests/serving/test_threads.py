"""Whether one thread or all compute an answer: as measured, with one where it makes little difference."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch

from structure.pipeline.device import one_thread
from structure.pipeline.serving import threads


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("alone", "together", "best"), [(4, 1, nullcontext), (1, 4, one_thread), (9, 8, one_thread)])
def test_what_was_faster_is_taken(alone: float, together: float, best: object, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def work() -> None:
        clock[0] += 0.01 * (alone if torch.get_num_threads() == 1 else together)

    assert threads.threads_for(work) is best
    assert torch.get_num_threads() == 2


def test_slow_work_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def work() -> None:
        clock[0] += 10.0

    assert threads.threads_for(work) is one_thread
    assert clock[0] == 30.0
