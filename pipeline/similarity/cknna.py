"""CKNNA, the local form of CKA: kernels non-zero only where both nearest-neighbour graphs have the edge."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from structure.pipeline.similarity.hsic import quotient, unit_rows
from structure.pipeline.similarity.knn.unit_rows import RowSlices
from structure.pipeline.similarity.metric import NeighbourMetric
from structure.pipeline.similarity.neighbour_overlap import matches
from structure.store.errors import StructureError


@dataclass(frozen=True)
class Cknna(NeighbourMetric):
    """Unbiased CKA of cosines used only where both k-nearest-neighbour graphs have the (directed) edge.

    Huh et al. 2024, appendix A; the two self terms use their own graph. `eps` stands in the denominator: 1e-6 as in the
    public code, 0 for the exact quotient. Everything is sparse: rows x k entries a layer. Raises StructureError for
    k < 2 or fewer than 4 rows.
    """

    eps: float = 1e-6

    needs_rows: ClassVar[bool] = True
    is_symmetric: ClassVar[bool] = False  # the estimator takes column sums of one kernel and row sums of the other
    bounds: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    notation: ClassVar[str] = "CKNNA@k"
    meaning: ClassVar[str] = "CKA of the samples' cosines, used only between k nearest neighbours in both spaces"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 2 or self.rows < 4:
            raise StructureError(
                f"CKNNA needs k >= 2 and at least 4 rows; this has k = {self.k} and {self.rows} rows. "
                "Pass --k 2 or more."
            )

    def scores(self, permutation: np.ndarray | None = None) -> np.ndarray:
        vision_cosines, text_cosines = self._cosines
        text = self.permuted(permutation)
        if permutation is not None:
            moved = np.empty_like(text_cosines)
            moved[:, permutation] = text_cosines
            text_cosines = moved
        (self_v, self_t), rows = self._self_terms, self.rows
        scores = np.empty((len(self.vision), len(text)))
        for i, j, p, q in matches(self.vision, text):
            keys = p // self.k * rows + self.vision[i].ravel()[p]
            x, y = vision_cosines[i].ravel()[p], text_cosines[j].ravel()[q]
            scores[i, j] = quotient(masked_hsic(x, y, keys, rows), self_v[i], self_t[j], self.eps)
        return scores

    @cached_property
    def _cosines(self) -> tuple[np.ndarray, np.ndarray]:
        """Both sides' (layers, rows, k) float64 cosines of each row with its neighbours."""
        vision, text = (
            np.stack([_neighbour_cosines(layer, table) for layer, table in zip(layers, tables, strict=True)])
            for layers, tables in ((self.layers.vision, self.vision), (self.layers.text, self.text))
        )
        return vision, text

    @cached_property
    def _self_terms(self) -> tuple[list[float], list[float]]:
        """HSIC of every layer with itself, over its own graph."""
        vision, text = (
            [
                masked_hsic(own.ravel(), own.ravel(), _keys(table), self.rows)
                for table, own in zip(tables, cosines, strict=True)
            ]
            for tables, cosines in zip((self.vision, self.text), self._cosines, strict=True)
        )
        return vision, text


def _neighbour_cosines(layer: RowSlices, table: np.ndarray) -> np.ndarray:
    """`(rows, k)` float64: the cosine of each row with each of its neighbours."""
    x = unit_rows(layer, 0, len(table), normalise=True)
    values = np.empty(table.shape)
    for start in range(0, len(table), 256):
        values[start : start + 256] = np.einsum("id,ijd->ij", x[start : start + 256], x[table[start : start + 256]])
    return values


def _keys(table: np.ndarray) -> np.ndarray:
    keys: np.ndarray = np.arange(len(table), dtype=np.int64)[:, None] * len(table) + table
    return keys.ravel()


def masked_hsic(x: np.ndarray, y: np.ndarray, keys: np.ndarray, m: int) -> float:
    """Song et al.'s estimator of two directed sparse matrices with the same edges (row * m + column), zero elsewhere
    and on the diagonal.

    Not symmetric: sum K * L^T pairs an edge with its reverse, and 1^T K L 1 takes column sums of K, row sums of L.
    """
    by_key = np.argsort(keys)
    x, y, keys = x[by_key], y[by_key], keys[by_key]
    row, column = keys // m, keys % m
    reverse = column * m + row
    candidate = np.minimum(np.searchsorted(keys, reverse), max(len(keys) - 1, 0))
    has_reverse = keys[candidate] == reverse if len(keys) else np.zeros(0, bool)
    inner = float((x[has_reverse] * y[candidate[has_reverse]]).sum())
    through = float(np.bincount(column, x, m) @ np.bincount(row, y, m))
    whole = float(x.sum() * y.sum())
    return (inner + whole / ((m - 1) * (m - 2)) - 2.0 * through / (m - 2)) / (m * (m - 3))
