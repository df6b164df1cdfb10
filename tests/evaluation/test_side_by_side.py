"""Aligners that are judged side by side: outcomes, events and faults come as if one followed the other, and no thread
stays behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from structure.pipeline.evaluation.side_by_side import ROWS, Outcome, judge_each
from structure.pipeline.progress import Event, Listener, Progress
from structure.store.errors import NotPresentError, StructureError

THREADS = 3


@pytest.fixture(autouse=True)
def several_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    running = threading.active_count()
    yield
    assert threading.active_count() == running
    assert torch.get_num_threads() == THREADS
    torch.set_num_threads(before)


def judged(
    made: Callable[[int, Listener], Any], names: str, told: list[Event], *, samples: int = 5, kind: str = "segmentation"
) -> Generator[Outcome, None, None]:
    """What `made` gives of each aligner's number; one called `x` has no features, one called `y` a fault."""

    def prepared(_: object, name: str, *rest: object, seed: int) -> Any:
        if name == "x":
            raise NotPresentError("no features of x")
        if name == "y":
            raise StructureError("y has no patches")
        return lambda on_event: made(names.index(name), on_event)

    source: Any = SimpleNamespace(device="cpu", context=SimpleNamespace(on_event=told.append))
    question: Any = SimpleNamespace(task=SimpleNamespace(kind=kind), samples=range(samples))
    subjects: Any = list(names)
    return judge_each(prepared, question, subjects, source, seed=0)


def test_outcomes_and_events_come_in_the_order_of_the_aligners() -> None:
    """Though the second is done before the first begins to tell; the listener is called on one thread alone."""
    second_is_done, told = threading.Event(), list[Event]()

    def made(number: int, on_event: Listener) -> int:
        assert torch.get_num_threads() == 1
        if number == 0:
            assert second_is_done.wait(30)
        for done in (1, 2):
            on_event(Progress(f"of {number}", done, 2))
        if number == 1:
            second_is_done.set()
        return number

    found = list[object]()
    for outcome in judged(made, "abcdef", told):
        found.append(outcome)
        assert told == [Progress(f"of {number}", done, 2) for number in found for done in (1, 2)]
    assert found == [0, 1, 2, 3, 4, 5]


def test_a_fault_comes_after_the_outcomes_of_the_aligners_before_it() -> None:
    each = judged(lambda number, _: number, "axbyc", [])
    first, second, third = (next(each) for _ in range(3))
    assert (first, str(second), third) == (0, "no features of x", 2)
    with pytest.raises(StructureError, match="y has no patches"):
        next(each)


def test_who_leaves_stops_those_that_run() -> None:
    """The rest never begins."""
    told, begun, ended, go_on = list[Event](), list[int](), list[int](), threading.Event()

    def made(number: int, on_event: Listener) -> int:
        begun.append(number)
        on_event(Progress("first", number, 9))
        if number:
            assert go_on.wait(30)
            for _ in range(1_000_000):
                on_event(Progress("on and on", number, 9))
            ended.append(number)
        return number

    each = judged(made, "abcdefgh", told)
    assert next(each) == 0
    go_on.set()
    each.close()
    assert len(begun) <= THREADS + 1
    assert ended == []


@pytest.mark.parametrize(("samples", "kind"), [(ROWS + 1, "segmentation"), (5, "linear_probe")])
def test_large_tasks_and_trainings_follow_each_other_with_all_threads(samples: int, kind: str) -> None:
    main = threading.get_ident()

    def made(number: int, on_event: Listener) -> int:
        assert (threading.get_ident(), torch.get_num_threads()) == (main, THREADS)
        return number

    assert list[object](judged(made, "abc", [], samples=samples, kind=kind)) == [0, 1, 2]
