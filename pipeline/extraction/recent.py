"""What was read or computed last, up to so many bytes, so that the next who asks for it need not wait again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Recent:
    """Values by key, those that were asked for last, of at most `limit` bytes together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._values: dict[Hashable, tuple[Any, int]] = {}
        self._bytes = 0

    def once(self, key: Hashable, make: Callable[[], T], *, size: Callable[[T], int]) -> T:
        """The value of this key, made where it is not here; `size` says how many bytes it holds."""
        found = self._values.pop(key, None)
        if found is None:
            value = make()
            found = value, size(value)
            self._bytes += found[1]
        self._values[key] = found
        while self._bytes > self.limit:
            self._bytes -= self._values.pop(next(iter(self._values)))[1]
        return found[0]  # type: ignore[no-any-return]
