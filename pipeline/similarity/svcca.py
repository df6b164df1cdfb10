"""SVCCA: canonical correlations of the leading directions of two layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from structure.pipeline.similarity.hsic import unit_rows
from structure.pipeline.similarity.knn.unit_rows import RowSlices
from structure.pipeline.similarity.metric import SimilarityMetric
from structure.store.errors import StructureError


@dataclass(frozen=True)
class Svcca(SimilarityMetric):
    """Mean canonical correlation of the `directions` leading left singular vectors of both layers.

    Raghu et al., "SVCCA", NeurIPS 2017, as in platonic-rep: columns standardised first. Left singular vectors are
    orthonormal and centred, so canonical correlations are the singular values of U^T V: no iteration, no random
    numbers. A layer of lower rank has fewer directions; the mean is over the larger number of the two, and 0 for a
    constant layer. Rows are L2-normalised unless `normalise` is False. Raises StructureError for too few rows.
    """

    directions: int = 10
    normalise: bool = True

    needs_rows: ClassVar[bool] = True
    notation: ClassVar[str] = "SVCCA"
    meaning: ClassVar[str] = "mean canonical correlation of the ten leading singular directions of two layers"

    def __post_init__(self) -> None:
        if self.rows <= self.directions:
            raise StructureError(
                f"SVCCA with {self.directions} directions needs more than {self.directions} rows, there are "
                f"{self.rows}. Extract more rows."
            )

    @property
    def rows(self) -> int:
        return int(self.layers.vision[0].shape[0])

    def scores(self, permutation: np.ndarray | None = None) -> np.ndarray:
        vision, text = self._singular_vectors
        if permutation is not None:
            vision = [u[permutation] for u in vision]
        return np.array([[_mean_correlation(u, v) for v in text] for u in vision], dtype=np.float64)

    @cached_property
    def _singular_vectors(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """One (rows, r) float64 orthonormal array a layer, for both sides."""
        vision, text = (
            [_leading(layer, self.rows, self.directions, self.normalise) for layer in side]
            for side in (self.layers.vision, self.layers.text)
        )
        return vision, text


def _mean_correlation(u: np.ndarray, v: np.ndarray) -> float:
    most = max(u.shape[1], v.shape[1])
    if not u.shape[1] or not v.shape[1]:
        return 0.0
    correlations = np.linalg.svd(u.T @ v, compute_uv=False)
    mean: float = correlations.sum() / most
    return min(1.0, float(mean))


def _leading(layer: RowSlices, rows: int, dim: int, normalise: bool) -> np.ndarray:
    """`(rows, r)` float64 orthonormal: left singular vectors of the standardised layer, from its smaller Gram
    matrix."""
    x = unit_rows(layer, 0, rows, normalise=normalise)
    x = x - x.mean(axis=0)
    spread = x.std(axis=0, ddof=1)
    x = np.divide(x, spread, out=np.zeros_like(x), where=spread > 1e-12)
    if x.shape[1] <= rows:
        values, vectors = np.linalg.eigh(x.T @ x)
        vectors = x @ vectors[:, ::-1][:, :dim]
    else:
        values, vectors = np.linalg.eigh(x @ x.T)
        vectors = vectors[:, ::-1][:, :dim]
    real = values[::-1][:dim] > 1e-10 * max(float(values[-1]), 1e-300)
    return np.linalg.qr(vectors[:, real])[0]
