"""Warnings are left out by one thread at a time."""

from __future__ import annotations

import os
import threading
import warnings

import pytest

from structure.store.without_warnings import without_warnings


def test_two_threads_bring_back_the_filters_that_were_there() -> None:
    before = list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with without_warnings():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with without_warnings():
        thread.start()
        assert not inside.wait(0.2)  # it waits until this thread is out
        warnings.warn("not shown", stacklevel=1)
    assert inside.wait(10)
    leave.set()
    thread.join()
    assert list(warnings.filters) == before


def test_only_the_category_that_is_named_is_left_out() -> None:
    with without_warnings(category=ResourceWarning):
        warnings.warn("not shown", ResourceWarning, stacklevel=1)
        with pytest.warns(UserWarning, match="shown"):
            warnings.warn("shown", stacklevel=1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_a_thread_that_it_lacks() -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with without_warnings():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(10)
    child = os.fork()
    if child == 0:
        with without_warnings():
            os._exit(7)
    _, status = os.waitpid(child, 0)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 7
