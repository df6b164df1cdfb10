"""Wasserstein Procrustes with a geometric start: a rotation between two spaces from unpaired rows and a few pairs.

arXiv 2610.09411, by its description: the authors match centres with a solver under GPL, here it is 2-opt (see
`kernel_matching`). Rows are centred and of unit length; X (n, dx), Y (m, dy), pairs (p, dx) and (p, dy).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from structure.pipeline.aligners.few_pairs.kernel_matching import centred_kernel, match_kernels
from structure.pipeline.aligners.few_pairs.kmeans import kmeans
from structure.pipeline.aligners.few_pairs.unpaired_sides import UnpairedSides, polar
from structure.pipeline.aligners.few_pairs.vec2vec import some


@dataclass(frozen=True)
class GeometricProcrustes:
    """Numbers of the method, with the paper's values: `centres` a side, matched anew in `restarts` draws, each by 2-opt
    from `exchanges` starts; `rounds` of matching `block` rows of each side."""

    centres: int = 30
    restarts: int = 30
    exchanges: int = 30
    block: int = 10_000
    rounds: int = 100

    def fit(self, sides: UnpairedSides, *, seed: int, on_step: Callable[[str, int, int], None]) -> torch.Tensor:
        """W (dx, dy), semi-orthogonal."""
        random = np.random.default_rng(seed)
        weights = self.first_map(sides, self.geometric_start(sides, random, on_step), random)
        for number in range(self.rounds):
            x, y = (side[some(len(side), self._most(sides), random, side.device)] for side in (sides.x, sides.y))
            weights = rotation(matched_product(x, y, weights), len(x), sides)
            on_step("matching rows", number + 1, self.rounds)
        return weights

    def geometric_start(
        self, sides: UnpairedSides, random: np.random.Generator, on_step: Callable[[str, int, int], None]
    ) -> torch.Tensor:
        """M (dx, dy): the mean of the maps between centres that are matched by the similarities among them, and to the
        pairs where there are some."""
        total = torch.zeros(sides.widths, device=sides.x.device)
        centres = min(self.centres, len(sides.x), len(sides.y))
        for number in range(self.restarts):
            held = [
                kmeans(side[some(len(side), self.block, random, side.device)], centres=centres, random=random)
                for side in (sides.x, sides.y)
            ]
            kernels = [
                centred_kernel(torch.cat([own, paired]).cpu().numpy())
                for own, paired in zip(held, (sides.pairs_x, sides.pairs_y), strict=True)
            ]
            to_pairs = [kernel[:centres, centres:] for kernel in kernels]
            order, _ = match_kernels(
                kernels[0][:centres, :centres],
                kernels[1][:centres, :centres],
                restarts=self.exchanges,
                random=random,
                linear=2 * to_pairs[0] @ to_pairs[1].T,
            )
            total += held[0].T @ held[1][torch.from_numpy(order).to(total.device)] / centres
            on_step("matching centres", number + 1, self.restarts)
        return total / self.restarts

    def first_map(self, sides: UnpairedSides, start: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
        """The rotation that follows from `start` over all rows, block by block in a random order."""
        fewer, each = min(len(sides.x), len(sides.y)), self._most(sides)
        orders = [some(len(side), len(side), random, side.device) for side in (sides.x, sides.y)]
        total, matched = torch.zeros_like(start), 0
        for at in range(0, fewer, each):
            x, y = (side[order[at : at + each]] for side, order in zip((sides.x, sides.y), orders, strict=True))
            total += matched_product(x, y, start)
            matched += min(len(x), len(y))
        return rotation(total, matched, sides)

    def _most(self, sides: UnpairedSides) -> int:
        return min(self.block, len(sides.x), len(sides.y))


def matched_product(x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(dx, dy) sum of x_i^T y_j over the one-to-one matching that maximises the sum of x_i W y_j^T."""
    scores = (x @ weights @ y.T).double().cpu().numpy()
    rows, columns = (torch.from_numpy(one).to(x.device) for one in linear_sum_assignment(scores, maximize=True))
    return x[rows].T @ y[columns]


def rotation(product: torch.Tensor, matched: int, sides: UnpairedSides) -> torch.Tensor:
    """The polar factor of the product of matched rows and, weighing as much together, that of the pairs."""
    pairs = len(sides.pairs_x)
    if pairs:
        product = product + (matched / pairs) * sides.pairs_x.T @ sides.pairs_y
    return polar(product)
