"""Kernel CSA of many pairs: the same ridge CSA of Nyström features, by products of float32 and without eigenvectors.

Of n pairs and m landmarks the exact road of `kernel_csa_solver` takes 20 n m^2 operations in float64 and four
eigendecompositions; here the kernel rows themselves are summed, 6 n m^2 operations in float32 whose sums are float64,
and whitened afterwards. With K the kernel of the landmarks, K + e I = R R^T, the features are R^-1 k(x) (a rotation of
K^-1/2 k(x), which ridge CSA does not see); e = 1e-6 m keeps directions out that float32 does not resolve, whose
variance is below a hundredth of the ridge's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.linalg import eigh

from structure.pipeline.aligners.arrays import Array, as_tensor, some_rows
from structure.pipeline.aligners.csa_solver import Moments
from structure.pipeline.aligners.kernel_csa_solver import CHUNK, LANDMARKS, KernelMap, bandwidth, kernel
from structure.pipeline.float32_products import by_transpose

MANY_PAIRS = 16384
"""Pairs above which this road is taken, where the ridge is `LEAST_RIDGE` or more."""

LEAST_RIDGE = 0.1
"""Below this share the rounding of float32 would show beside the ridge."""

JITTER = 1e-6
"""Of the landmarks' kernel, as a share of its trace."""


@dataclass(frozen=True)
class KernelMoments:
    """Landmarks and bandwidths of both sides, and the moments of the kernel rows of all pairs, whatever the ridge."""

    landmarks: tuple[torch.Tensor, torch.Tensor]
    gammas: tuple[float, float]
    gathered: Moments


def kernel_moments(vision: Array, text: Array, *, seed: int) -> KernelMoments:
    """Of paired rows (n, dv), (n, dt), read once, chunk by chunk; the landmarks are drawn by the `seed`."""
    first, second = (as_tensor(side).detach().float().cpu() for side in some_rows((vision, text), LANDMARKS, seed=seed))
    gammas = (bandwidth(first), bandwidth(second))
    units = (F.normalize(first, dim=1), F.normalize(second, dim=1))
    total, count = Moments(), len(first)
    # Rows less the mean of the landmarks' own: sums of small numbers lose less.
    near = [kernel(unit, unit, gamma).mean(dim=0)[:, None] for unit, gamma in zip(units, gammas, strict=True)]
    sums = [torch.zeros(count, dtype=torch.float64) for _ in units]
    products = [torch.zeros(count, count, dtype=torch.float64) for _ in range(3)]
    for at in range(0, len(vision), CHUNK):
        # Landmarks by pairs: so the products below need no transpose.
        k_x, k_y = (
            _kernel_rows(as_tensor(side[at : at + CHUNK]), unit, gamma).sub_(mean)
            for side, unit, gamma, mean in zip((vision, text), units, gammas, near, strict=True)
        )
        for own, rows in zip(sums, (k_x, k_y), strict=True):
            own += rows.sum(dim=1)
        _add_gram(products[0], k_x)
        _add_gram(products[1], k_y)
        products[2] += by_transpose(k_x, k_y)
    pairs = len(vision)
    mean_x, mean_y = (own / pairs for own in sums)
    total.rows = pairs
    total.mean_x, total.mean_y = mean_x + near[0][:, 0], mean_y + near[1][:, 0]
    for product in products[:2]:
        product.tril_()
        product += product.tril(-1).T
    total.xx, total.yy, total.xy = (
        product.div_(pairs).addr_(one, two, alpha=-1)
        for product, (one, two) in zip(products, ((mean_x, mean_x), (mean_y, mean_y), (mean_x, mean_y)), strict=True)
    )
    return KernelMoments((first, second), gammas, total)


def solve_many_pairs(moments: KernelMoments, *, dim: int, ridge: float) -> tuple[KernelMap, KernelMap]:
    """Both maps into the `dim` strongest directions (fewer where the landmarks are), scaled by their correlation.

    Raises torch's LinAlgError where the landmarks span so few directions that rounding exceeds the ridge.
    """
    gathered = moments.gathered
    roots = [
        _root(landmarks, gamma, covariance, ridge)
        for landmarks, gamma, covariance in zip(
            moments.landmarks, moments.gammas, (gathered.xx, gathered.yy), strict=True
        )
    ]
    dim = min(dim, len(roots[0]))
    crossed = roots[0] @ gathered.xy @ roots[1].T
    squared, last = (crossed @ crossed.T).numpy(), len(crossed) - 1
    strongest = eigh(squared, subset_by_index=[last + 1 - dim, last], overwrite_a=True)
    values, left = (torch.from_numpy(one) for one in strongest)
    correlations = values.flip(0).clamp_min(0).sqrt()
    left = left.flip(1)
    right = (crossed.T @ left) / correlations.clamp_min(1e-12)
    maps = []
    for index, (directions, mean) in enumerate(zip((left, right), (gathered.mean_x, gathered.mean_y), strict=True)):
        coefficients = ((roots[index].T @ directions) * correlations).T
        maps.append(KernelMap(moments.landmarks[index], moments.gammas[index], coefficients, -(coefficients @ mean)))
    return maps[0], maps[1]


def _root(landmarks: torch.Tensor, gamma: float, covariance: torch.Tensor, ridge: float) -> torch.Tensor:
    """P (m, m) whose features P k(x) have the identity as their ridge covariance."""
    rows = landmarks.double()
    among = kernel(rows, rows, gamma)
    among.diagonal().add_(JITTER * len(among))
    lower = torch.linalg.cholesky(among)
    del among
    features = _solved(lower, _solved(lower, covariance).T)
    features.diagonal().add_(ridge * features.diagonal().mean())
    lower = lower @ torch.linalg.cholesky(features)
    del features
    return _solved(lower, torch.eye(len(lower), dtype=lower.dtype))


def _kernel_rows(rows: torch.Tensor, landmarks: torch.Tensor, gamma: float) -> torch.Tensor:
    """The kernel (m, n) of unit landmarks (m, width) and rows (n, width), float32."""
    cosines = by_transpose(landmarks, F.normalize(rows.detach().float().cpu(), dim=1))
    return cosines.sub_(1).mul_(2 * gamma).exp_()


def _add_gram(total: torch.Tensor, rows: torch.Tensor, blocks: int = 4) -> None:
    """Add rows rows^T to `total`, on and below the diagonal alone, block by block."""
    step = -(-len(rows) // blocks)
    for top in range(0, len(rows), step):
        end = min(top + step, len(rows))
        total[top:end, :end] += by_transpose(rows[top:end], rows[:end])


def _solved(lower: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return torch.linalg.solve_triangular(lower, right, upper=False)
