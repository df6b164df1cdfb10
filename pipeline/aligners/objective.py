"""What is minimised: the contrastive loss of both sides' heads plus the weighted R_S of each side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from structure.pipeline.aligners.contrastive import info_nce, sigmoid_loss
from structure.pipeline.aligners.heads import Head, make_head
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.aligners.structure_loss import Centring, Divergence, Frozen, Weighting, freeze, structure_loss

MOST_KEPT = 4096
"""Rows up to which the frozen side of a batch that never changes is kept: two N x N matrices, 134 MB at most."""


@dataclass(frozen=True)
class Batch:
    """Paired features (n, dv), (n, dt) float32 on the training device, and what R_S compares them with."""

    vision: torch.Tensor
    text: torch.Tensor
    vision_frozen: torch.Tensor | Frozen
    text_frozen: torch.Tensor | Frozen


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

    def batch(self, vision: torch.Tensor, text: torch.Tensor, *, repeats: bool = False) -> Batch:
        """`repeats` says that the batch will be seen again and again: its frozen sides are computed once and kept."""
        seen, read = vision.float(), text.float()
        if not repeats or len(seen) > MOST_KEPT:
            return Batch(seen, read, seen, read)
        space = {name: self._structure[name] for name in ("temperature", "centring", "centre_first")}
        return Batch(seen, read, freeze(seen, **space), freeze(read, **space))

    def losses(self, batch: Batch, *, structure: bool) -> tuple[Losses, torch.Tensor, torch.Tensor]:
        """The parts of the loss and both sides' aligned features (n, dim), not normalised."""
        images, texts = self.vision(batch.vision), self.text(batch.text)
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
        kept = self._structure
        of_vision = structure_loss(batch.vision_frozen, images, **kept)
        of_text = structure_loss(batch.text_frozen, texts, **kept)
        return Losses(contrastive, of_vision, of_text), images, texts

    def total(self, losses: Losses, *, weight: float | torch.Tensor) -> torch.Tensor:
        """The loss that is minimised, `weight` being the regulariser's at this step."""
        both = losses.structure_vision + losses.structure_text
        return losses.contrastive + weight * (both / 2 if self.options.combine == "mean" else both)

    @property
    def _structure(self) -> dict[str, Any]:
        options = self.options
        return {
            "levels": options.levels,
            "temperature": options.temperature,
            "divergence": cast(Divergence, options.divergence),
            "weighting": cast(Weighting, options.weighting),
            "centring": cast(Centring, options.centring),
            "centre_first": options.centre_first,
            "margin": options.margin,
        }


def make_objective(widths: tuple[int, int], options: TrainingOptions) -> Objective:
    """Fresh heads of the kind `options.method` names, drawn from `options.seed`; on the CPU."""
    hidden = options.hidden or 2 * options.dim
    settings: dict[str, dict[str, Any]] = {
        "linear": {},
        "mlp": {"hidden": hidden},
        "lowrank": {"rank": options.rank, "dropout": options.dropout, "gate": options.gate},
        "gated": {"hidden": hidden},
    }
    generator = torch.Generator().manual_seed(options.seed)
    heads = [make_head(options.method, width, options.dim, **settings.get(options.method, {})) for width in widths]
    for head in heads:
        head.reset(generator)
    return Objective(heads[0], heads[1], options)
