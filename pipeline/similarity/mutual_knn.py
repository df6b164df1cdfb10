"""Mutual kNN: the share of nearest neighbours that two layers have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from structure.pipeline.similarity.metric import NeighbourMetric
from structure.pipeline.similarity.neighbour_overlap import mutual_curve, shared_counts, shared_totals
from structure.pipeline.similarity.permuted_overlap import permuted_totals


class MutualKnn(NeighbourMetric):
    """mean_i |N_v(i) n N_t(i)| / k (Huh et al., "The Platonic Representation Hypothesis", 2024, appendix A)."""

    notation = "mutual kNN@k"
    meaning = "share of a sample's k nearest neighbours that two layers have in common, averaged over the samples"

    def scores(self, permutation: np.ndarray | None = None) -> np.ndarray:
        return shared_totals(self.vision, self.permuted(permutation)) / float(self.rows * self.k)

    def permuted_scores(self, permutations: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        totals = permuted_totals(self.vision, self.text, permutations)
        return (one / float(self.rows * self.k) for one in totals)

    def per_row(self, i: int, j: int) -> np.ndarray:
        return shared_counts(self.vision[i], self.text[j]) / float(self.k)

    def chance(self) -> float:
        return self.k / (self.rows - 1)

    def mutual_knn_curve(self) -> np.ndarray:
        return mutual_curve(list(self.vision), list(self.text))
