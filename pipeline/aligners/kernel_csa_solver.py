"""Kernel CSA: canonical correlation in the space of an RBF kernel, for the few pairs where linear maps underfit.

Kernel CCA (Hardoon, Szedmak, Shawe-Taylor, "Canonical correlation analysis: an overview with application to learning
methods", Neural Computation 16, 2004, section 4), through the Nyström features of landmark pairs (Williams and Seeger,
NIPS 2000): with all pairs as landmarks it is exact. k(x, y) = exp(-g |x^ - y^|^2) on unit rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from structure.pipeline.aligners.arrays import Array, as_tensor, some_rows
from structure.pipeline.aligners.csa_solver import FLOOR, Moments, Spectrum, fit_csa_moments, moments

LANDMARKS = 2048
"""Training pairs that span the space at most; fewer pairs are all used."""

CHUNK = 2048
"""Pairs that are taken at a time."""


def bandwidth(rows: torch.Tensor) -> float:
    """g = 1 / (2 median |x^ - y^|^2) over the pairs of rows (n, width): the median heuristic. 1 where all coincide."""
    unit = F.normalize(rows.double(), dim=1)
    return bandwidth_of(unit @ unit.T)


def bandwidth_of(cosines: torch.Tensor) -> float:
    """The same from the cosines of all rows with all, (n, n) float64, which are written over."""
    count = len(cosines) * (len(cosines) - 1)
    others = cosines.fill_diagonal_(torch.inf).flatten().numpy()
    middle = count - 1 - (count - 1) // 2  # of an even number of distances the lower of the two in the middle
    others.partition(middle)  # a tenth of the time of torch's median
    median = 2 - 2 * float(others[middle])
    return 1 / (2 * median) if median > 0 else 1.0


def kernel(x: torch.Tensor, landmarks: torch.Tensor, gamma: float) -> torch.Tensor:
    """(rows, width), (m, width) -> (rows, m) in (0, 1], in the precision given."""
    return kernel_of(F.normalize(x, dim=1) @ F.normalize(landmarks, dim=1).T, gamma)


def kernel_of(cosines: torch.Tensor, gamma: float) -> torch.Tensor:
    """The same from the cosines, in their place."""
    return cosines.sub_(1).mul_(2 * gamma).exp_()


def whitening(landmarks: torch.Tensor, gamma: float) -> torch.Tensor:
    """K^-1/2 (m, r) over the directions above the eigenvalue floor: kernel(x) @ whitening are the Nyström features,
    whose inner products are the kernel."""
    values, vectors = kernel_spectrum(kernel(landmarks.double(), landmarks.double(), gamma))
    return vectors / values.sqrt()


def kernel_spectrum(gram: torch.Tensor) -> Spectrum:
    """Eigenvalues (r,), ascending, and eigenvectors (m, r) of a kernel matrix (m, m) above the eigenvalue floor."""
    values, vectors = torch.linalg.eigh(gram)
    kept = values > FLOOR * values[-1]
    return values[kept], vectors[:, kept]


@dataclass(frozen=True)
class KernelMap:
    """One side: its landmarks (m, width) float32, its bandwidth, and z = coefficients k(x) + bias, (dim, m) and (dim,),
    float64."""

    landmarks: torch.Tensor
    gamma: float
    coefficients: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True)
class KernelPairs:
    """Pairs in the kernel's space, whatever the ridge: of each side its landmarks (m, width) float32, bandwidth and
    whitening (m, r) float64, and the moments of the Nyström features."""

    landmarks: tuple[torch.Tensor, torch.Tensor]
    gammas: tuple[float, float]
    bases: tuple[torch.Tensor, torch.Tensor]
    moments: Moments


def kernel_pairs(vision: Array, text: Array, *, seed: int) -> KernelPairs:
    """Of paired rows (n, dv), (n, dt), read chunk by chunk; the landmarks are drawn by the `seed`."""
    sides, pairs = (vision, text), len(vision)
    first, second = (as_tensor(side).detach().float().cpu() for side in some_rows(sides, LANDMARKS, seed=seed))
    gammas = (bandwidth(first), bandwidth(second))
    bases = (whitening(first, gammas[0]), whitening(second, gammas[1]))

    def features(side: int, start: int) -> torch.Tensor:
        rows = as_tensor(sides[side][start : start + CHUNK]).detach().double().cpu()
        return kernel(rows, (first, second)[side].double(), gammas[side]) @ bases[side]

    gathered = moments((features(0, at), features(1, at)) for at in range(0, pairs, CHUNK))
    return KernelPairs((first, second), gammas, bases, gathered)


def solve_pairs(spanned: KernelPairs, *, dim: int, ridge: float) -> tuple[KernelMap, KernelMap]:
    """Both maps into the `dim` strongest directions, fewer where the pairs span no more, scaled by their
    correlation."""
    fitted = fit_csa_moments(spanned.moments, dim=dim, ridge=ridge, clamp=True)
    scale = torch.as_tensor(fitted.correlations)
    first, second = (
        KernelMap(rows, gamma, (basis @ (projection * scale)).T, -(mean @ (projection * scale)))
        for rows, gamma, basis, mean, projection in zip(
            spanned.landmarks,
            spanned.gammas,
            spanned.bases,
            (fitted.mean_x, fitted.mean_y),
            (fitted.projection_x, fitted.projection_y),
            strict=True,
        )
    )
    return first, second
