"""Held-out recall of kernel CSA fitted to many subsets of the same pairs.

It is the recall that the method's own heads reach (`aligners/kernel_csa_solver`), without making them: cosines of a
side are computed once, of which every fit takes a part, and the regularised covariance of the Nyström features is
whitened without decomposing it. With K = V L V^T and Nyström features V L^1/2, whose mean is m, that covariance is
E - m m^T with E = L / n + ridge diagonal; of w = E^-1/2 m

    E - m m^T = E^1/2 (I - w w^T) E^1/2,    (I - w w^T)^-1/2 = I + w w^T / (s (1 + s)),    s = sqrt(1 - |w|^2)

The canonical directions are the singular vectors of the whitened cross-covariance M, whatever root whitens: with
M^T M = R C^2 R^T the embeddings of whitened rows x and y are x M R and y R C, scaled by their correlation C. All in
float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from structure.pipeline.aligners.arrays import as_tensor
from structure.pipeline.aligners.csa_solver import FLOOR
from structure.pipeline.aligners.kernel_csa_solver import bandwidth_of, kernel_of, kernel_spectrum
from structure.pipeline.aligners.methods.kernel_csa import KernelCsaOptions
from structure.pipeline.metrics.matrices import unit_rows

METHOD = "kernel-csa"
"""The closed form that is fitted: the best one on few pairs."""

USUAL = KernelCsaOptions(method=METHOD)
"""As the command has it by default."""

Cosines = tuple[torch.Tensor, torch.Tensor]


def cosines_of(vision: np.ndarray, text: np.ndarray) -> Cosines:
    """Cosines (n, n) float64 of all rows with all, of both sides (n, dv) and (n, dt)."""
    first, second = (F.normalize(as_tensor(side).double(), dim=1) for side in (vision, text))
    return first @ first.T, second @ second.T


def held_out_recall(cosines: Cosines, rows: np.ndarray, test: np.ndarray, *, k: int) -> float:
    """Recall@k, the mean of both directions, among the pairs `test` of a fit to the pairs `rows` (both row numbers).
    Raises as `held_out_embeddings` does."""
    images, texts = held_out_embeddings(cosines, rows, test)
    scores = (images @ texts.T).float().numpy()  # rounded: cosines of rows that repeat differ in their last bits
    right, before = scores.diagonal(), np.tri(len(scores), k=-1, dtype=bool)
    ranks = [  # of equal cosines the lower index is first
        np.count_nonzero((each > right[:, None]) | ((each == right[:, None]) & before), axis=1)
        for each in (scores, scores.T)
    ]
    return float(np.mean([rank < k for rank in ranks]))


def held_out_embeddings(
    cosines: Cosines, rows: np.ndarray, test: np.ndarray, *, options: KernelCsaOptions = USUAL
) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit embeddings (test pairs, dim) float64 of both sides by a fit to the pairs `rows`. Raises StructureError where
    one is zero."""
    vision, text = (_whitened(side, rows, test, options.ridge) for side in cosines)
    cross = vision.trained.T @ text.trained / len(rows)
    squares, directions = torch.linalg.eigh(cross.T @ cross)
    correlations, strongest = squares[-options.dim :].clamp_min(0).sqrt(), directions[:, -options.dim :]
    images, texts = (vision.held_out @ cross) @ strongest, (text.held_out @ strongest) * correlations
    return unit_rows(images, name="image embeddings"), unit_rows(texts, name="caption embeddings")


@dataclass(frozen=True)
class _Whitened:
    """One side's rows in its whitened space (_, r): those that it is fitted to, and those that are held out."""

    trained: torch.Tensor
    held_out: torch.Tensor


def _whitened(cosines: torch.Tensor, rows: np.ndarray, test: np.ndarray, ridge: float) -> _Whitened:
    own, other = (cosines[np.ix_(part, rows)] for part in (rows, test))
    gamma = bandwidth_of(own.clone())
    values, vectors = kernel_spectrum(kernel_of(own, gamma))
    roots = values.sqrt()
    mean = roots * vectors.mean(dim=0)
    variances = values / len(rows)
    root = 1 / (variances + ridge * (variances - mean.square()).mean()).sqrt()
    tilt = root * mean
    lifted = (1 - tilt @ tilt).clamp_min(FLOOR).sqrt()  # it is 0 where all rows are the same

    def whiten(features: torch.Tensor) -> torch.Tensor:
        scaled = (features - mean) * root
        return scaled.addr_(scaled @ tilt / (lifted * (1 + lifted)), tilt)

    return _Whitened(whiten(vectors * roots), whiten(kernel_of(other, gamma) @ (vectors / roots)))
