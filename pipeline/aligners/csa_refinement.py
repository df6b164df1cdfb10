"""CSA + R_S: gradient steps from the closed form under the regulariser, then whitened again (arXiv 2506.16895)."""

from __future__ import annotations

import torch

from structure.pipeline.aligners.adamw import AdamW
from structure.pipeline.aligners.arrays import as_tensor, whole
from structure.pipeline.aligners.batches import PairsInMemory
from structure.pipeline.aligners.csa_solver import CanonicalMap, Moments
from structure.pipeline.aligners.losses.structure_loss import structure_loss
from structure.pipeline.aligners.option_groups import MixOptions, StructureOptions
from structure.pipeline.aligners.pair_objective import structure_options
from structure.pipeline.aligners.training import pick_device
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.aligners.unpaired import NO_EXTRAS
from structure.pipeline.progress import Listener, Progress, silent

RATE, AGREEMENT, TEMPERATURE = 5e-4, 1e-2, 0.2
"""As published; the temperature of R_S is 0.2 here, not that of the other methods."""


def refine(
    fitted: CanonicalMap,
    gathered: Moments,
    data: TrainingData,
    *,
    options: StructureOptions,
    ridge: float = 0.0,
    epochs: int = 10,
    on_event: Listener = silent,
) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Both projections (width, dim) float64, refined, and the new correlation of each direction (dim,).

    Minimises weight (R_x + R_y) / 2 - 0.01 sum(Z_x * Z_y) / dim with Adam at 5e-4 for 10 `epochs`, Z the centred
    features projected; then W <- W (W^T S W)^-1/2, so that columns are uncorrelated with variance 1 on the training
    pairs. S has the `ridge` of the closed form (a share of its mean variance; published: 0): whitening by the bare
    covariance would undo it.
    """
    device = pick_device(options.device)
    mix = options.mix if isinstance(options, MixOptions) else None
    source = PairsInMemory(*(as_tensor(whole(side)) for side in (data.vision, data.text)), batch=options.batch, mix=mix)
    unpaired = (data.unpaired or NO_EXTRAS).to(device)
    means = [mean.to(device, torch.float32) for mean in (gathered.mean_x, gathered.mean_y)]
    moving = [
        projection.to(device, torch.float32).requires_grad_()
        for projection in (fitted.projection_x, fitted.projection_y)
    ]
    optimiser = AdamW(moving, rate=RATE)
    kept = structure_options(options) | {"temperature": TEMPERATURE}
    for epoch in range(1, epochs + 1):
        seed = options.seed * 1_000_003 + epoch
        for index, batch in enumerate(source.epoch(seed)):
            rows = [side.to(device, torch.float32) for side in batch]
            aligned = [(side - mean) @ by for side, mean, by in zip(rows, means, moving, strict=True)]
            drawn = unpaired.draw(options.extra_rows or len(rows[0]), seed=seed * 7919 + index)
            structure = torch.zeros((), device=device)
            for side, z, more, mean, by in zip(rows, aligned, drawn, means, moving, strict=True):
                before, after = side, z
                if more is not None:
                    added = more.float()
                    replaced = options.extras == "replace"
                    before = added if replaced else torch.cat([side, added])
                    after = (before - mean) @ by
                structure = structure + structure_loss(before, after, **kept) / 2
            loss = options.weight * structure - AGREEMENT * (aligned[0] * aligned[1]).sum() / aligned[0].shape[1]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        on_event(Progress("refining csa", epoch, epochs, "epochs"))
    w_x, w_y = (
        _whitened(moved.detach().double().cpu(), raised(covariance, ridge))
        for moved, covariance in zip(moving, (gathered.xx, gathered.yy), strict=True)
    )
    return (w_x, w_y), (w_x * (gathered.xy @ w_y)).sum(dim=0)


def raised(covariance: torch.Tensor, ridge: float) -> torch.Tensor:
    """The covariance with that share of its mean variance added to every direction."""
    return covariance + ridge * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)


def _whitened(projection: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(projection.T @ covariance @ projection)
    return projection @ (vectors / values.clamp_min(values[-1] * 1e-10).sqrt()) @ vectors.T
