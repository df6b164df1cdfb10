"""Numbers for a scene that are the same on every machine: the raw stream of PCG64, keyed by text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Choice = TypeVar("Choice")
BLOCK = 64


class Draws:
    """A stream of draws that depends on `key` alone.

    NumPy promises the raw stream of a bit generator for good, not what `Generator` makes of it, so the few
    distributions that a scene needs are made here, in integers.
    """

    def __init__(self, key: str) -> None:
        self._bits = np.random.PCG64(int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little"))
        self._block: list[int] = []

    def below(self, stop: int) -> int:
        """A whole number in `[0, stop)`; the bias is under `stop / 2**64`."""
        if not self._block:
            self._block = self._bits.random_raw(BLOCK).tolist()
        return self._block.pop() % stop

    def between(self, low: int, high: int) -> int:
        """A whole number in `[low, high]`, both ends included."""
        return low + self.below(high - low + 1)

    def pick(self, options: Sequence[Choice]) -> Choice:
        """One of `options`."""
        return options[self.below(len(options))]

    def shuffle(self, options: Sequence[Choice]) -> list[Choice]:
        """All of `options` in a drawn order (Fisher-Yates)."""
        out = list(options)
        for last in range(len(out) - 1, 0, -1):
            other = self.below(last + 1)
            out[last], out[other] = out[other], out[last]
        return out

    def bytes(self, count: int) -> np.ndarray:
        """`(count,)` uint8, uniform."""
        words = self._bits.random_raw(-(-count // 8))
        return words.astype("<u8").view(np.uint8)[:count]
