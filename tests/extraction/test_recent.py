"""Values that are kept up to so many bytes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from structure.pipeline.extraction.recent import Recent


def test_the_values_asked_for_last_are_kept_within_the_limit() -> None:
    recent, made = Recent(10), list[str]()

    def ask(key: str, size: int = 4) -> str:
        return recent.once(key, lambda: made.append(key) or key.upper(), size=lambda _: size)

    assert [ask(key) for key in "abab"] == ["A", "B", "A", "B"]
    assert made == ["a", "b"]
    ask("a")
    ask("c")  # 12 bytes: b, which was asked for first, goes
    assert made == ["a", "b", "c"]
    ask("a")
    ask("b")
    assert made == ["a", "b", "c", "b"]
    assert ask("large", 11) == "LARGE"  # and is not kept, nor what it drove out
    ask("large", 11)
    ask("a")
    assert made == ["a", "b", "c", "b", "large", "large", "a"]


def test_threads_that_ask_for_one_value_get_the_one_that_the_first_made() -> None:
    """Two ask for `a` while it is made, which ends once a third has made `b`."""
    recent, made, b_is_made = Recent(100), list[str](), threading.Event()

    def make(key: str) -> object:
        made.append(key)
        if key == "a":
            assert b_is_made.wait(30)
        return object()

    def ask(key: str) -> object:
        found = recent.once(key, lambda: make(key), size=lambda _: 40)
        if key == "b":
            b_is_made.set()
        return found

    with ThreadPoolExecutor(3) as pool:
        first, second, third = (pool.submit(ask, key) for key in "aab")
        assert first.result() is second.result() is not third.result()
    assert sorted(made) == ["a", "b"]
