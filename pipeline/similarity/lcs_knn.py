"""LCS kNN: neighbour lists compared in their order, by the longest common subsequence."""

from __future__ import annotations

import numpy as np

from structure.pipeline.similarity.metric import NeighbourMetric
from structure.pipeline.similarity.ordinal_overlap import common_lengths, lcs_totals


class LcsKnn(NeighbourMetric):
    """Mean longest common subsequence of both neighbour lists, over k (platonic-rep reports the length itself)."""

    notation = "LCS kNN@k"
    meaning = (
        "longest common subsequence of a sample's two lists of k nearest neighbours, over k, averaged over samples"
    )

    def scores(self, permutation: np.ndarray | None = None) -> np.ndarray:
        return lcs_totals(self.vision, self.permuted(permutation)) / float(self.rows * self.k)

    def per_row(self, i: int, j: int) -> np.ndarray:
        return common_lengths(self.vision[i], self.text[j]) / float(self.k)
