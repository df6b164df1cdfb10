"""Measures of all layer pairs that can be taken again with the text rows shuffled, which is what a null needs.

Each is made once (tables, graphs, singular vectors, kernels) and then asked for scores: of the rows as they are, or of
rows permuted. A permutation renames table entries; no feature is read again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from structure.pipeline.similarity.neighbour_overlap import (
    cycle_rows,
    cycles,
    reversed_edges,
    shared_counts,
    shared_totals,
)
from structure.pipeline.similarity.ordinal_overlap import common_lengths, edit_distances, kept_totals, lcs_totals
from structure.store.errors import unknown


class Measure(Protocol):
    """Scores of every (vision layer, text layer) over the same rows."""

    @property
    def rows(self) -> int: ...

    def scores(self, order: np.ndarray | None = None) -> np.ndarray:
        """`(Lv, Lt)` float64; with `order` (rows,), a permutation, text row n is moved to row `order[n]`, the same in
        every layer."""

    def of_rows(self, i: int, j: int) -> np.ndarray | None:
        """`(rows,)` float64 whose mean is the score of a pair, or None where the score is no mean over rows."""


@dataclass(frozen=True)
class OfTables(ABC):
    """A measure that neighbour tables decide: `vision` (Lv, rows, k) and `text` (Lt, rows, k) int32."""

    vision: np.ndarray
    text: np.ndarray

    @property
    def rows(self) -> int:
        return int(self.vision.shape[1])

    @property
    def k(self) -> int:
        return int(self.vision.shape[2])

    def moved(self, order: np.ndarray | None) -> np.ndarray:
        """The text tables when text row n is row `order[n]`: rows moved, entries renamed."""
        if order is None:
            return self.text
        order = order.astype(self.text.dtype)
        moved = np.empty_like(self.text)
        moved[:, order] = order[self.text]
        return moved

    @abstractmethod
    def scores(self, order: np.ndarray | None = None) -> np.ndarray: ...

    @abstractmethod
    def of_rows(self, i: int, j: int) -> np.ndarray | None: ...


class MutualKnn(OfTables):
    """mean_i |N_v(i) n N_t(i)| / k (Huh et al., "The Platonic Representation Hypothesis", 2024, appendix A)."""

    def scores(self, order: np.ndarray | None = None) -> np.ndarray:
        return shared_totals(self.vision, self.moved(order)) / float(self.rows * self.k)

    def of_rows(self, i: int, j: int) -> np.ndarray:
        return shared_counts(self.vision[i], self.text[j]) / float(self.k)


class MultiscaleKnn(OfTables):
    """Mean over the scales s = 1, 2, 4, ..., k of (mutual kNN at s - c_s) / (1 - c_s), c_s = s / (rows - 1).

    Our own definition (there is no published one to follow): from the single nearest neighbour to the wide
    neighbourhood every octave counts the same, each measured from its own chance level, so that unrelated layers have
    0 at every scale and identical ones 1.
    """

    @property
    def scales(self) -> list[int]:
        return scales(self.k)

    def scores(self, order: np.ndarray | None = None) -> np.ndarray:
        text = self.moved(order)
        return self._mean(
            [shared_totals(self.vision[:, :, :s], text[:, :, :s]) / float(self.rows) for s in self.scales]
        )

    def of_rows(self, i: int, j: int) -> np.ndarray:
        return self._mean([shared_counts(self.vision[i, :, :s], self.text[j, :, :s]) for s in self.scales])

    def _mean(self, shared: Sequence[np.ndarray]) -> np.ndarray:
        chance = [s / (self.rows - 1) for s in self.scales]
        parts = [(n / s - c) / (1 - c) if c < 1 else n / s for n, s, c in zip(shared, self.scales, chance, strict=True)]
        return np.asarray(np.mean(parts, axis=0))


def scales(k: int) -> list[int]:
    """1, 2, 4, ... below k, and k."""
    return [*(1 << power for power in range((k - 1).bit_length())), k]


class CycleKnn(OfTables):
    """Share of rows found again by going text -> vision -> back."""

    @cached_property
    def _back(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [reversed_edges(table) for table in self.vision]

    def scores(self, order: np.ndarray | None = None) -> np.ndarray:
        return cycles(self._back, self.moved(order)) / float(self.rows)

    def of_rows(self, i: int, j: int) -> np.ndarray:
        return cycle_rows(self._back[i], self.text[j]).astype(np.float64)


class LcsKnn(OfTables):
    """Mean longest common subsequence of both neighbour lists, over k."""

    def scores(self, order: np.ndarray | None = None) -> np.ndarray:
        return lcs_totals(self.vision, self.moved(order)) / float(self.rows * self.k)

    def of_rows(self, i: int, j: int) -> np.ndarray:
        return common_lengths(self.vision[i], self.text[j]) / float(self.k)


class EditDistanceKnn(OfTables):
    """1 - mean edit distance of both neighbour lists, over k."""

    def scores(self, order: np.ndarray | None = None) -> np.ndarray:
        return kept_totals(self.vision, self.moved(order)) / float(self.rows * self.k)

    def of_rows(self, i: int, j: int) -> np.ndarray:
        return 1.0 - edit_distances(self.vision[i], self.text[j]) / float(self.k)


OF_TABLES: dict[str, type[OfTables]] = {
    "mutual_knn": MutualKnn,
    "multiscale_knn": MultiscaleKnn,
    "cycle_knn": CycleKnn,
    "lcs_knn": LcsKnn,
    "edit_distance_knn": EditDistanceKnn,
}


def of_tables(metric: str, vision: np.ndarray, text: np.ndarray) -> OfTables:
    """The measure of that name over both sides' `(layers, rows, k)` tables."""
    if metric not in OF_TABLES:
        raise unknown("measure of neighbour tables", metric, OF_TABLES)
    return OF_TABLES[metric](vision, text)
