"""Cycle kNN: how many rows are reached again by going to a neighbour in one space and back in the other."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from structure.pipeline.similarity.metric import NeighbourMetric
from structure.pipeline.similarity.neighbour_overlap import Edges, cycle_rows, cycles, reversed_edges


class CycleKnn(NeighbourMetric):
    """Share of rows n that are a vision neighbour of one of their text neighbours (text -> vision -> n), as in the
    public code of platonic-rep. A layer need not score 1 on itself: being a neighbour is not mutual."""

    is_symmetric = False
    is_one_on_itself = False
    notation = "cycle kNN@k"
    meaning = "share of the samples reached again by going to a nearest neighbour in the text space and back in vision"

    @cached_property
    def _back(self) -> list[Edges]:
        return [reversed_edges(table) for table in self.vision]

    def scores(self, permutation: np.ndarray | None = None) -> np.ndarray:
        return cycles(self._back, self.permuted(permutation)) / float(self.rows)

    def per_row(self, i: int, j: int) -> np.ndarray:
        return cycle_rows(self._back[i], self.text[j]).astype(np.float64)
