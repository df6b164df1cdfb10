"""Kernel CSA: canonical correlation in the space of an RBF kernel, for the few pairs where linear maps underfit.

Kernel CCA (Hardoon, Szedmak, Shawe-Taylor, "Canonical correlation analysis: an overview with application to learning
methods", Neural Computation 16, 2004, section 4), through the Nyström features of landmark pairs (Williams and Seeger,
NIPS 2000): with all pairs as landmarks it is exact. k(x, y) = exp(-g |x^ - y^|^2) on unit rows.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from structure.pipeline.aligners.csa_solver import FLOOR

LANDMARKS = 2048
"""Training pairs that span the space at most; fewer pairs are all used."""


def bandwidth(rows: torch.Tensor) -> float:
    """g = 1 / (2 median |x^ - y^|^2) over the pairs of rows (n, width): the median heuristic. 1 where all coincide."""
    unit = F.normalize(rows.double(), dim=1)
    distances = 2 - 2 * unit @ unit.T
    median = float(distances[~torch.eye(len(unit), dtype=torch.bool)].median())
    return 1 / (2 * median) if median > 0 else 1.0


def kernel(x: torch.Tensor, landmarks: torch.Tensor, gamma: float) -> torch.Tensor:
    """(rows, width), (m, width) -> (rows, m) in (0, 1], in the precision given."""
    cosines = F.normalize(x, dim=1) @ F.normalize(landmarks, dim=1).T
    return torch.exp((cosines - 1) * (2 * gamma))


def whitening(landmarks: torch.Tensor, gamma: float) -> torch.Tensor:
    """K^-1/2 (m, r) over the directions above the eigenvalue floor: kernel(x) @ whitening are the Nyström features,
    whose inner products are the kernel."""
    values, vectors = torch.linalg.eigh(kernel(landmarks.double(), landmarks.double(), gamma))
    kept = values > FLOOR * values[-1]
    return vectors[:, kept] / values[kept].sqrt()


def choose_landmarks(pairs: int, *, seed: int) -> np.ndarray:
    """Sorted row numbers of at most `LANDMARKS` pairs."""
    return np.sort(np.random.default_rng(seed).permutation(pairs)[:LANDMARKS])
