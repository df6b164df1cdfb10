"""Where R_S compares neighbourhoods: how rows are placed, and how alike two of them are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
import torch.nn.functional as F

from structure.pipeline.aligners.losses.choices import Centring, Similarity
from structure.pipeline.float32_products import by_transpose
from structure.store.errors import unknown


@dataclass(frozen=True)
class SimilaritySpace:
    """The space of R_S. Raises StructureError for an unknown name, ValueError for a number that is not positive.

    `centring`: subtract the column mean, nothing, or also divide by the (population) standard deviation; after the
    rows are normalised, or before it with `centre_first`. The order matters: rows are not normalised again.
    `similarity` of the placed rows: "cosine" is their inner product (a cosine but for the centring), "rbf" is
    exp(-gamma ||a - b||^2), "spearman" the correlation of their coordinates' ranks. Ranks have no gradient.
    """

    temperature: float = 0.05
    similarity: Similarity = "cosine"
    gamma: float = 1.0
    centring: Centring = "mean"
    centre_first: bool = False

    def __post_init__(self) -> None:
        for kind, value, known in (
            ("centring", self.centring, Centring),
            ("similarity", self.similarity, Similarity),
        ):
            if value not in get_args(known):
                raise unknown(kind, value, get_args(known))
        if self.temperature <= 0 or self.gamma <= 0:
            raise ValueError(f"temperature={self.temperature} and gamma={self.gamma} must be positive")

    def place(self, x: torch.Tensor) -> torch.Tensor:
        """Raw rows (N, d) -> placed rows (N, d). Without a graph for "spearman"."""
        z = (
            F.normalize(self._centred(x), dim=1)
            if self.centre_first
            else self._centred(F.normalize(x, dim=1), owned=True)
        )
        if self.similarity != "spearman":
            return z
        ranks = z.detach().argsort(dim=1).argsort(dim=1).to(z.dtype)
        return F.normalize(ranks - ranks.mean(dim=1, keepdim=True), dim=1)

    def logits(self, rows: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Similarities over the temperature (n, N) of some placed rows to placed rows `z`."""
        if self.similarity != "rbf":
            return by_transpose(rows / self.temperature, z)
        squares = (rows.square().sum(dim=1)[:, None], z.square().sum(dim=1))
        distances = by_transpose(rows * -2, z).add_(squares[0]).add_(squares[1]).clamp_min_(0)
        return distances.mul_(-self.gamma).exp_().div_(self.temperature)

    def pull(self, slope: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Weights of the pairs in `to_rows`, written over `slope`, the loss's derivative in these logits."""
        return slope.mul_(logits) if self.similarity == "rbf" else slope

    def to_rows(self, product: torch.Tensor, degrees: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Gradient in the placed rows, over `product` = V z; V sums the pulls of both directions, `degrees` its rows.

        An inner product gives V z / temperature; for rbf d exp(-gamma ||a - b||^2) / da = -2 gamma (a - b) exp(...).
        """
        if self.similarity == "rbf":
            return product.sub_(degrees[:, None] * z).mul_(2 * self.gamma)
        return product.div_(self.temperature)

    def _centred(self, rows: torch.Tensor, *, owned: bool = False) -> torch.Tensor:
        if self.centring == "none":
            return rows
        mean = rows.mean(dim=0)
        # In place where no graph needs the rows and nobody else has them: frozen sides are large.
        moved = rows.sub_(mean) if owned and not rows.requires_grad else rows - mean
        if self.centring == "mean":
            return moved
        spread = moved.square().mean(dim=0).sqrt()
        return moved / spread.clamp_min(1e-12)
