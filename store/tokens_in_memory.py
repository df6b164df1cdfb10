"""Token features as they are read: the tokens of some rows, one row after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens of n rows of one layer.

    `values`: (tokens, width) float16 or float32, row after row, real tokens only. `offsets`: (n + 1,) int64, row i is
    `values[offsets[i]:offsets[i + 1]]`; a row that could not be read has no token. `prefix`: how many tokens at the
    start of each row are no patches (CLS and registers). `grid`: (height, width) of the patches; None for texts.
    """

    values: np.ndarray
    offsets: np.ndarray
    prefix: int = 0
    grid: tuple[int, int] | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64 tokens of each row."""
        return np.diff(self.offsets)

    def row(self, index: int) -> np.ndarray:
        """(tokens, width) of one row."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def padded(self) -> tuple[np.ndarray, np.ndarray]:
        """(n, longest, width) with zeros behind each row's tokens, and the (n, longest) bool mask, True = real."""
        lengths = self.lengths
        longest = int(lengths.max(initial=0))
        mask = np.arange(longest) < lengths[:, None]
        if mask.all():
            return self.values.reshape(len(self), longest, self.values.shape[1]), mask
        out = np.zeros((*mask.shape, self.values.shape[1]), dtype=self.values.dtype)
        out[mask] = self.values
        return out, mask

    def without(self, rows: Sequence[int]) -> Tokens:
        """The same with no token in these rows."""
        if not rows:
            return self
        gone = np.zeros(len(self), dtype=bool)
        gone[list(rows)] = True
        lengths = np.where(gone, 0, self.lengths)
        kept = np.repeat(~gone, self.lengths)
        return Tokens(self.values[kept], np.concatenate([[0], np.cumsum(lengths)]), self.prefix, self.grid)
