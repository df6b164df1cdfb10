"""A similarity metric of another package: the Jaccard index of both neighbour sets, averaged over rows."""

from __future__ import annotations

import numpy as np

from structure.pipeline.similarity.metric import NeighbourMetric


class JaccardKnn(NeighbourMetric):
    """From the mean overlap m of k neighbours: the mean over rows of shared / (2 k - shared)."""

    notation = "Jaccard kNN@k"
    meaning = "shared nearest neighbours over all that either space has"

    def scores(self, permutation: np.ndarray | None = None) -> np.ndarray:
        text = self.permuted(permutation)
        return np.array([[self._of(ours, theirs).mean() for theirs in text] for ours in self.vision])

    def per_row(self, i: int, j: int) -> np.ndarray:
        return self._of(self.vision[i], self.text[j])

    def _of(self, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        shared = (ours[:, :, None] == theirs[:, None, :]).sum(axis=(1, 2))
        return np.asarray(shared / (2 * self.k - shared), dtype=np.float64)
