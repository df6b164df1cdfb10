"""CSA + R_S: gradient steps from the closed form under the regulariser, then whitened again (arXiv 2506.16895)."""

from __future__ import annotations

from typing import Any

import torch

from structure.pipeline.aligners.arrays import Array, as_tensor
from structure.pipeline.aligners.batches import PairsInMemory
from structure.pipeline.aligners.csa import CanonicalMap, Moments
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.aligners.structure_loss import structure_loss
from structure.pipeline.progress import Listener, Progress

EPOCHS, RATE, AGREEMENT, TEMPERATURE = 10, 5e-4, 1e-2, 0.2
"""As published; the temperature of R_S is 0.2 here, not that of the other methods."""


def refine(
    fitted: CanonicalMap, gathered: Moments, vision: Array, text: Array, *, options: TrainingOptions, on_event: Listener
) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Both projections (width, dim) float64, refined, and the new correlation of each direction (dim,).

    Minimises weight (R_x + R_y) / 2 - 0.01 sum(Z_x * Z_y) / dim with Adam at 5e-4 for 10 epochs, Z the centred features
    projected; then W <- W (W^T S W)^-1/2, so that columns are uncorrelated with variance 1 on the training pairs.
    """
    source = PairsInMemory(as_tensor(vision), as_tensor(text), batch=options.batch)
    means = (gathered.mean_x.float(), gathered.mean_y.float())
    moving = [projection.float().requires_grad_() for projection in (fitted.projection_x, fitted.projection_y)]
    optimiser = torch.optim.Adam(moving, lr=RATE)
    kept: dict[str, Any] = {
        "temperature": TEMPERATURE,
        "levels": options.levels,
        "divergence": options.divergence,
        "weighting": options.weighting,
        "centring": options.centring,
        "centre_first": options.centre_first,
        "margin": options.margin,
    }
    for epoch in range(1, EPOCHS + 1):
        for x, y in source.epoch(options.seed * 1_000_003 + epoch):
            rows = (x.float().cpu(), y.float().cpu())
            z_x, z_y = ((side - mean) @ by for side, mean, by in zip(rows, means, moving, strict=True))
            structure = (structure_loss(rows[0], z_x, **kept) + structure_loss(rows[1], z_y, **kept)) / 2
            loss = options.weight * structure - AGREEMENT * (z_x * z_y).sum() / z_x.shape[1]
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        on_event(Progress("refining csa", epoch, EPOCHS, "epochs"))
    w_x, w_y = (
        _whitened(moved.detach().double(), covariance)
        for moved, covariance in zip(moving, (gathered.xx, gathered.yy), strict=True)
    )
    return (w_x, w_y), (w_x * (gathered.xy @ w_y)).sum(dim=0)


def _whitened(projection: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(projection.T @ covariance @ projection)
    return projection @ (vectors / values.clamp_min(values[-1] * 1e-10).sqrt()) @ vectors.T
