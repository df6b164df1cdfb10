"""What is minimised: the contrastive loss of both sides' heads plus the weighted R_S of each side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from structure.pipeline.aligners.heads.head import Head
from structure.pipeline.aligners.losses.contrastive import info_nce, sigmoid_loss
from structure.pipeline.aligners.losses.similarity_space import Centring, Similarity, SimilaritySpace
from structure.pipeline.aligners.losses.structure_gradients import Divergence
from structure.pipeline.aligners.losses.structure_loss import Frozen, Weighting, freeze, structure_loss
from structure.pipeline.aligners.options import TrainingOptions

MOST_KEPT = 4096
"""Rows up to which the frozen side of a batch that never changes is kept: two N x N matrices, 134 MB at most."""


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


class Objective(nn.Module):
    """Two heads and the loss. Equation 4 of arXiv 2506.16895: L_align + weight (R_S(vision) + R_S(text))."""

    def __init__(self, vision: Head, text: Head, options: TrainingOptions) -> None:
        super().__init__()
        self.vision, self.text, self.options = vision, text, options
        start = options.scale if options.loss == "sigmoid" else 1 / options.temperature
        learn = options.learnable_scale
        self.log_scale = nn.Parameter(torch.tensor(math.log(start)), requires_grad=learn)
        self.bias = nn.Parameter(torch.tensor(options.bias), requires_grad=learn and options.loss == "sigmoid")

    def batch(
        self,
        vision: torch.Tensor,
        text: torch.Tensor,
        *,
        extra: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None),
        repeats: bool = False,
    ) -> PairBatch:
        """`repeats` says that the batch will be seen again and again: its frozen sides are computed once and kept."""
        seen, read = vision.float(), text.float()
        beyond = [None if rows is None else rows.float() for rows in extra]
        if not repeats or len(seen) > MOST_KEPT:
            return PairBatch(seen, read, seen, read, *beyond)
        space = self.space
        return PairBatch(
            seen,
            read,
            seen if beyond[0] is not None else freeze(seen, space),
            read if beyond[1] is not None else freeze(read, space),
            *beyond,
        )

    def losses(self, batch: PairBatch, *, structure: bool) -> tuple[Losses, torch.Tensor, torch.Tensor]:
        """The parts of the loss and both sides' aligned features (n, dim) float32, not normalised."""
        images, texts = self._embed(self.vision, batch.vision), self._embed(self.text, batch.text)
        # A fixed scale stays a number: no gradient is computed for it.
        scale: Any = self.log_scale.exp() if self.log_scale.requires_grad else None
        if self.options.loss == "sigmoid":
            bias: Any = self.bias if self.bias.requires_grad else self.options.bias
            contrastive = sigmoid_loss(images, texts, scale=self.options.scale if scale is None else scale, bias=bias)
        else:
            contrastive = info_nce(images, texts, temperature=self.options.temperature if scale is None else 1 / scale)
        if not structure:
            nothing = torch.zeros_like(contrastive)
            return Losses(contrastive, nothing, nothing), images, texts
        of_vision = self._structure_loss(self.vision, batch.vision_frozen, images, batch.vision_extra)
        of_text = self._structure_loss(self.text, batch.text_frozen, texts, batch.text_extra)
        return Losses(contrastive, of_vision, of_text), images, texts

    def judgement(self, losses: Losses, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """What the epoch is chosen by on held-out pairs: the contrastive part, 0-d; for the sigmoid loss InfoNCE at
        its scale.

        The sigmoid loss itself hangs on its bias, which fits the number of negatives in training and not the few of
        the held-out pairs: on 58 photos it is least after two epochs, when recall@3 is .29, InfoNCE after ten, at .51.
        """
        if self.options.loss != "sigmoid":
            return losses.contrastive
        return info_nce(images, texts, temperature=float((-self.log_scale.detach()).exp()))

    def total(self, losses: Losses, *, weight: float | torch.Tensor) -> torch.Tensor:
        """The loss that is minimised, `weight` being the regulariser's at this step."""
        both = losses.structure_vision + losses.structure_text
        return losses.contrastive + weight * (both / 2 if self.options.combine == "mean" else both)

    def _embed(self, head: Head, rows: torch.Tensor) -> torch.Tensor:
        if self.options.precision == "fp32":
            return cast(torch.Tensor, head(rows))
        with torch.autocast(rows.device.type, dtype=torch.bfloat16):
            return cast(torch.Tensor, head(rows)).float()

    @property
    def space(self) -> SimilaritySpace:
        """Where R_S compares neighbourhoods."""
        options = self.options
        return SimilaritySpace(
            options.temperature,
            cast(Similarity, options.similarity),
            options.gamma,
            cast(Centring, options.centring),
            options.centre_first,
        )

    def _structure_loss(
        self, head: Head, before: torch.Tensor | Frozen, after: torch.Tensor, extra: torch.Tensor | None
    ) -> torch.Tensor:
        options = self.options
        if extra is not None:
            beyond = self._embed(head, extra)
            if options.extras == "replace":
                before, after = extra, beyond
            elif isinstance(before, torch.Tensor):
                before, after = torch.cat([before, extra]), torch.cat([after, beyond])
        return structure_loss(before, after, **structure_options(options))


def structure_options(options: TrainingOptions) -> dict[str, Any]:
    """What `structure_loss` is told."""
    return {
        "levels": options.levels,
        "temperature": options.temperature,
        "divergence": cast(Divergence, options.divergence),
        "weighting": cast(Weighting, options.weighting),
        "centring": cast(Centring, options.centring),
        "centre_first": options.centre_first,
        "similarity": cast(Similarity, options.similarity),
        "gamma": options.gamma,
        "margin": options.margin,
    }
