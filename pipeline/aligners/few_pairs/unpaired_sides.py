"""Both sides as the methods of few pairs read them: centred on the means of the unpaired rows, in unit rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from structure.pipeline.aligners.arrays import Array, as_tensor, whole
from structure.pipeline.aligners.heads.closed_heads import IdentityHead
from structure.pipeline.aligners.heads.vector_heads import LinearHead
from structure.pipeline.aligners.linear_maps import centred
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.aligners.unpaired import NO_EXTRAS
from structure.store.errors import StructureError

SHORTEST = 1e-10
"""Rows are divided by their length, or by this where they are shorter."""

LEAST_ROWS = 2
"""Unpaired rows of each side: one row less its own mean is nothing."""


@dataclass(frozen=True)
class UnpairedSides:
    """Unpaired rows (n, dx) and (m, dy), and pairs (p, dx) and (p, dy), all centred on `mean_x` and `mean_y`, the means
    of the unpaired rows, and of unit length; of one dtype."""

    x: torch.Tensor
    y: torch.Tensor
    pairs_x: torch.Tensor
    pairs_y: torch.Tensor
    mean_x: torch.Tensor
    mean_y: torch.Tensor

    @classmethod
    def of(cls, data: TrainingData, method: str, *, device: str | torch.device = "cpu") -> UnpairedSides:
        """The sides of training data, float32 on the device. Raises StructureError where a side has no unpaired rows,
        or all of them are the same."""
        free = data.unpaired or NO_EXTRAS
        counts = [0 if side is None else len(side) for side in (free.vision, free.text)]
        if min(counts) < LEAST_ROWS:
            raise StructureError(
                f"{method} matches unpaired vision rows with unpaired text rows: it needs {LEAST_ROWS} of each, and "
                f"there are {counts[0]} and {counts[1]}. Name feature sets of both encoders: --unpaired DATASET/SPLIT"
            )
        unpaired, pairs, means = [], [], []
        for side, paired, what in ((free.vision, data.vision, "vision"), (free.text, data.text, "text")):
            assert side is not None
            rows = as_tensor(whole(side)).to(device, torch.float32)
            mean = rows.double().mean(dim=0).float()
            if bool((rows == rows[0]).all()):
                raise StructureError(
                    f"The unpaired {what} features are constant: all {len(rows)} rows are the same, so nothing can be "
                    "aligned. Choose another layer or pooling."
                )
            means.append(mean)
            unpaired.append(unit(rows - mean))
            pairs.append(unit(as_tensor(whole(paired)).to(device, torch.float32) - mean))
        return cls(*unpaired, *pairs, *means)

    @property
    def widths(self) -> tuple[int, int]:
        """Width of both sides."""
        return self.x.shape[1], self.y.shape[1]

    @property
    def facts(self) -> dict[str, Any]:
        """What to record of the fit: how many unpaired rows of each side there were."""
        return {"unpaired": {"vision": len(self.x), "text": len(self.y)}}

    def heads_into_text(self, weights: torch.Tensor) -> tuple[LinearHead, IdentityHead]:
        """The heads x -> (x - mean_x) W, `weights` (dx, dy), and y -> y - mean_y. Unit length is left out: a head's
        rows are made so where they are compared."""
        return LinearHead.of_map(weights.cpu(), self.mean_x.cpu()), centred(self.mean_y.cpu())


def unit(rows: Array) -> torch.Tensor:
    """Rows over their length, of the dtype given."""
    values = as_tensor(rows)
    return values / values.norm(dim=1, keepdim=True).clamp_min(SHORTEST)


def polar(moved: torch.Tensor) -> torch.Tensor:
    """The semi-orthogonal factor U V^T of (dx, dy): of X^T T, the W that minimises ||X W - T|| among such (Schönemann
    1966)."""
    u, _, vt = torch.linalg.svd(moved, full_matrices=False)
    return u @ vt
