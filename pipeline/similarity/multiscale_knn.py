"""Multiscale kNN: mutual kNN above chance, averaged over neighbourhoods from the nearest row to k rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from structure.pipeline.similarity.metric import NeighbourMetric
from structure.pipeline.similarity.neighbour_overlap import mutual_curve, shared_counts, shared_totals
from structure.pipeline.similarity.permuted_overlap import permuted_totals


class MultiscaleKnn(NeighbourMetric):
    """Mean over the scales s = 1, 2, 4, ..., k of (mutual kNN at s - c_s) / (1 - c_s), c_s = s / (rows - 1).

    Our own definition (there is no published one to follow): from the single nearest neighbour to the wide
    neighbourhood every octave counts the same, each measured from its own chance level, so that unrelated layers have
    0 at every scale and identical ones 1.
    """

    bounds = (-1.0, 1.0)
    notation = "multiscale kNN@k"
    meaning = (
        "mutual kNN at 1, 2, 4, ... and k neighbours, each from its own chance level (0) to identity (1), averaged "
        "over the scales and samples"
    )

    @property
    def scales(self) -> list[int]:
        """1, 2, 4, ... below k, and k."""
        return [*(1 << power for power in range((self.k - 1).bit_length())), self.k]

    def scores(self, permutation: np.ndarray | None = None) -> np.ndarray:
        text = self.permuted(permutation)
        return self._mean(
            [shared_totals(self.vision[:, :, :s], text[:, :, :s]) / float(self.rows) for s in self.scales]
        )

    def permuted_scores(self, permutations: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        every = list(permutations)
        scales = [permuted_totals(self.vision[:, :, :s], self.text[:, :, :s], every) for s in self.scales]
        return (self._mean([one / float(self.rows) for one in totals]) for totals in zip(*scales, strict=True))

    def per_row(self, i: int, j: int) -> np.ndarray:
        return self._mean([shared_counts(self.vision[i, :, :s], self.text[j, :, :s]) for s in self.scales])

    def chance(self) -> float:
        return 0.0

    def mutual_knn_curve(self) -> np.ndarray:
        return mutual_curve(list(self.vision), list(self.text))

    def _mean(self, shared: Sequence[np.ndarray]) -> np.ndarray:
        chance = [s / (self.rows - 1) for s in self.scales]
        parts = [(n / s - c) / (1 - c) if c < 1 else n / s for n, s, c in zip(shared, self.scales, chance, strict=True)]
        return np.asarray(np.mean(parts, axis=0))
