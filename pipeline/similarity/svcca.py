"""SVCCA: canonical correlations of the leading directions of two layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from structure.pipeline.similarity.hsic import unit_rows
from structure.pipeline.similarity.knn.unit_rows import RowSlices
from structure.store.errors import StructureError


@dataclass(frozen=True)
class Svcca:
    """Mean canonical correlation of the leading left singular vectors: `vision` and `text` hold one (rows, r) float64
    orthonormal array a layer.

    Raghu et al., "SVCCA", NeurIPS 2017, as in platonic-rep: columns standardised first. Left singular vectors are
    orthonormal and centred, so canonical correlations are the singular values of U^T V: no iteration, no random
    numbers. A layer of lower rank has fewer directions; the mean is over the larger number of the two, and 0 for a
    constant layer.
    """

    vision: tuple[np.ndarray, ...]
    text: tuple[np.ndarray, ...]

    @property
    def rows(self) -> int:
        return len(self.vision[0])

    def scores(self, order: np.ndarray | None = None) -> np.ndarray:
        ours = self.vision if order is None else [u[order] for u in self.vision]
        return np.array([[_mean_correlation(u, v) for v in self.text] for u in ours], dtype=np.float64)

    def of_rows(self, i: int, j: int) -> None:
        return None


def svcca_of(vision: Sequence[RowSlices], text: Sequence[RowSlices], *, dim: int = 10, normalise: bool = True) -> Svcca:
    """The measure over `(rows, width)` layers with `dim` directions each. Raises StructureError for too few rows."""
    rows = int(vision[0].shape[0])
    if rows <= dim:
        raise StructureError(
            f"SVCCA with {dim} directions needs more than {dim} rows, there are {rows}. Extract more rows."
        )
    ours, theirs = (tuple(_leading(layer, rows, dim, normalise) for layer in side) for side in (vision, text))
    return Svcca(ours, theirs)


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
