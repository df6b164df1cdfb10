"""What is minimised over the embeddings of two heads; here without R_S (see `pair_objective`)."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from structure.pipeline.aligners.heads.head import Head
from structure.pipeline.aligners.losses.contrastive import info_nce, sigmoid_loss
from structure.pipeline.aligners.losses.structure_loss import Frozen
from structure.pipeline.aligners.option_groups import ContrastiveOptions, GradientOptions


@dataclass(frozen=True)
class PairBatch:
    """Paired features (n, dv), (n, dt) float32 on the training device, and what R_S compares them with.

    `vision_extra` (m, dv) and `text_extra` (k, dt) are unpaired rows that R_S sees and the contrastive loss does not.
    """

    vision: torch.Tensor
    text: torch.Tensor
    vision_frozen: torch.Tensor | Frozen
    text_frozen: torch.Tensor | Frozen
    vision_extra: torch.Tensor | None = None
    text_extra: torch.Tensor | None = None


@dataclass(frozen=True)
class Losses:
    """The parts of the loss, 0-d tensors; R_S of each side before weighting (0 where it is not computed)."""

    contrastive: torch.Tensor
    structure_vision: torch.Tensor
    structure_text: torch.Tensor

    @classmethod
    def without_structure(cls, contrastive: torch.Tensor) -> Losses:
        """The contrastive part alone."""
        nothing = torch.zeros_like(contrastive)
        return cls(contrastive, nothing, nothing)


class Objective(nn.Module):
    """Two heads and a loss. `scale` multiplies the cosines of the loss; it is saved for those who score with it."""

    def __init__(
        self,
        vision: Head,
        text: Head,
        options: GradientOptions,
        *,
        scale: float,
        bias: float = 0.0,
        learns_scale: bool = False,
        learns_bias: bool = False,
    ) -> None:
        super().__init__()
        self.vision, self.text, self.options = vision, text, options
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)), requires_grad=learns_scale)
        self.bias = nn.Parameter(torch.tensor(bias), requires_grad=learns_bias)

    def batch(
        self,
        vision: torch.Tensor,
        text: torch.Tensor,
        *,
        extra: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None),
        repeats: bool = False,
    ) -> PairBatch:
        """`repeats` says that the batch will be seen again and again; `extra` are unpaired rows for R_S."""
        images, texts = self.rows(vision), self.rows(text)
        more = [None if rows is None else self.rows(rows) for rows in extra]
        return self.prepared(PairBatch(images, texts, images, texts, *more), repeats=repeats)

    def rows(self, features: Any) -> Any:
        """Features of one side as the losses take them: float32."""
        return features.float()

    def prepared(self, batch: PairBatch, *, repeats: bool) -> PairBatch:
        """The batch with whatever need not be computed again where it `repeats`."""
        return batch

    @abstractmethod
    def losses(self, batch: PairBatch, *, structure: bool) -> tuple[Losses, torch.Tensor, torch.Tensor]:
        """The parts of the loss and both sides' aligned features (n, dim) float32, not normalised; R_S with
        `structure`, where the objective has it."""

    def selection_loss(self, losses: Losses, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """What the epoch is chosen by on held-out pairs, 0-d."""
        return losses.contrastive

    def total(self, losses: Losses, *, weight: float | torch.Tensor) -> torch.Tensor:
        """The loss that is minimised, `weight` being that of R_S at this step."""
        return losses.contrastive

    def embed(self, head: Head, rows: torch.Tensor) -> torch.Tensor:
        """(n, width) -> (n, dim) float32, computed in the precision of the options."""
        if self.options.precision == "fp32":
            return cast(torch.Tensor, head(rows))
        with torch.autocast(rows.device.type, dtype=torch.bfloat16):
            return cast(torch.Tensor, head(rows)).float()


class ContrastiveObjective(Objective):
    """The contrastive loss alone, InfoNCE or the pairwise sigmoid loss, at a fixed or learnt scale."""

    options: ContrastiveOptions

    def __init__(self, vision: Head, text: Head, options: ContrastiveOptions) -> None:
        sigmoid, learns = options.loss == "sigmoid", options.learnable_scale
        super().__init__(
            vision,
            text,
            options,
            scale=options.scale if sigmoid else 1 / options.temperature,
            bias=options.bias,
            learns_scale=learns,
            learns_bias=learns and sigmoid,
        )

    def losses(self, batch: PairBatch, *, structure: bool) -> tuple[Losses, torch.Tensor, torch.Tensor]:
        images, texts = self.embed(self.vision, batch.vision), self.embed(self.text, batch.text)
        return Losses.without_structure(self.contrastive(images, texts)), images, texts

    def contrastive(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """The contrastive loss of aligned features (n, dim), 0-d."""
        options = self.options
        # A fixed scale stays a number: no gradient is computed for it.
        scale: Any = self.log_scale.exp() if self.log_scale.requires_grad else None
        if options.loss == "sigmoid":
            bias: Any = self.bias if self.bias.requires_grad else options.bias
            return sigmoid_loss(images, texts, scale=options.scale if scale is None else scale, bias=bias)
        return info_nce(images, texts, temperature=options.temperature if scale is None else 1 / scale)

    def selection_loss(self, losses: Losses, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """The contrastive part; for the sigmoid loss InfoNCE at its scale.

        The sigmoid loss itself hangs on its bias, which fits the number of negatives in training and not the few of
        the held-out pairs: on 58 photos it is least after two epochs, when recall@3 is .29, InfoNCE after ten, at .51.
        """
        if self.options.loss != "sigmoid":
            return losses.contrastive
        return info_nce(images, texts, temperature=float((-self.log_scale.detach()).exp()))
