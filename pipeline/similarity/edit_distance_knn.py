"""Edit-distance kNN: neighbour lists compared in their order, by the Levenshtein distance."""

from __future__ import annotations

import numpy as np

from structure.pipeline.similarity.metric import NeighbourMetric
from structure.pipeline.similarity.ordinal_overlap import edit_distances, saved_edit_totals


class EditDistanceKnn(NeighbourMetric):
    """1 - mean edit distance of both neighbour lists, over k (after platonic-rep)."""

    notation = "edit-distance kNN@k"
    meaning = "1 - edit distance of a sample's two lists of k nearest neighbours, over k, averaged over the samples"

    def scores(self, permutation: np.ndarray | None = None) -> np.ndarray:
        return saved_edit_totals(self.vision, self.permuted(permutation)) / float(self.rows * self.k)

    def per_row(self, i: int, j: int) -> np.ndarray:
        return 1.0 - edit_distances(self.vision[i], self.text[j]) / float(self.k)
