"""What was read or computed last, up to so many bytes, so that the next who asks for it need not wait again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")


class Recent:
    """Values by key, those that were asked for last, of at most `limit` bytes together. Threads that ask for one value
    wait for the first of them, and those of others do not."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._values: dict[Hashable, tuple[Any, int]] = {}
        self._bytes = 0
        self._alone = Lock()
        self._making: dict[Hashable, Lock] = {}

    def once(self, key: Hashable, make: Callable[[], T], *, size: Callable[[T], int]) -> T:
        """The value of this key, made where it is not here; `size` says how many bytes it holds."""
        with self._alone:
            mine = self._making.setdefault(key, Lock())
        with mine:
            with self._alone:
                found = self._values.get(key)
            value: T = make() if found is None else found[0]
            with self._alone:
                self._put(key, value, size(value))
                self._making.pop(key, None)
        return value

    def _put(self, key: Hashable, value: Any, size: int) -> None:
        self._bytes += size - self._values.pop(key, (None, 0))[1]
        self._values[key] = value, size
        while self._bytes > self.limit:
            self._bytes -= self._values.pop(next(iter(self._values)))[1]
