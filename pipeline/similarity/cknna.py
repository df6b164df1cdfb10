"""CKNNA, the local form of CKA: kernels kept only where both nearest-neighbour graphs have the edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from structure.pipeline.similarity.hsic import quotient, unit_rows
from structure.pipeline.similarity.knn.unit_rows import RowSlices
from structure.pipeline.similarity.measures import OfTables
from structure.pipeline.similarity.neighbour_overlap import matches
from structure.store.errors import StructureError


@dataclass(frozen=True)
class Cknna(OfTables):
    """Unbiased CKA of cosines kept only where both k-nearest-neighbour graphs have the (directed) edge.

    Huh et al. 2024, appendix A; the two self terms use their own graph. `cosines` holds both sides' (layers, rows, k)
    float64 cosines of the tables' entries. Everything is sparse: rows x k entries a layer.
    """

    cosines: tuple[np.ndarray, np.ndarray]
    eps: float = 1e-6

    def scores(self, order: np.ndarray | None = None) -> np.ndarray:
        text, values = self.moved(order), self.cosines[1]
        if order is not None:
            values = np.empty_like(values)
            values[:, order] = self.cosines[1]
        (self_v, self_t), rows = self._own, self.rows
        found = np.empty((len(self.vision), len(text)))
        for i, j, p, q in matches(self.vision, text):
            keys = p // self.k * rows + self.vision[i].ravel()[p]
            x, y = self.cosines[0][i].ravel()[p], values[j].ravel()[q]
            found[i, j] = quotient(masked_hsic(x, y, keys, rows), self_v[i], self_t[j], self.eps)
        return found

    def of_rows(self, i: int, j: int) -> None:
        return None

    @cached_property
    def _own(self) -> tuple[list[float], list[float]]:
        ours, theirs = (
            [masked_hsic(own, own, _keys(table), self.rows) for table, own in zip(tables, cosines, strict=True)]
            for tables, cosines in zip(
                (self.vision, self.text), (c.reshape(len(c), -1) for c in self.cosines), strict=True
            )
        )
        return ours, theirs


def cknna_of(
    vision: Sequence[RowSlices], text: Sequence[RowSlices], tables: tuple[np.ndarray, np.ndarray], *, eps: float = 1e-6
) -> Cknna:
    """The measure over layers and their `(layers, rows, k)` tables. Raises StructureError for k < 2 or fewer than 4
    rows."""
    rows, k = tables[0].shape[1:]
    if k < 2 or rows < 4:
        raise StructureError(
            f"CKNNA needs k >= 2 and at least 4 rows; this has k = {k} and {rows} rows. Pass --k 2 or more."
        )
    cosines = [
        np.stack([_cosines(layer, table) for layer, table in zip(layers, side, strict=True)])
        for layers, side in ((vision, tables[0]), (text, tables[1]))
    ]
    return Cknna(*tables, (cosines[0], cosines[1]), eps)


def _cosines(layer: RowSlices, table: np.ndarray) -> np.ndarray:
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
    place = np.minimum(np.searchsorted(keys, reverse), max(len(keys) - 1, 0))
    back = keys[place] == reverse if len(keys) else np.zeros(0, bool)
    inner = float((x[back] * y[place[back]]).sum())
    through = float(np.bincount(column, x, m) @ np.bincount(row, y, m))
    whole = float(x.sum() * y.sum())
    return (inner + whole / ((m - 1) * (m - 2)) - 2.0 * through / (m - 2)) / (m * (m - 3))
