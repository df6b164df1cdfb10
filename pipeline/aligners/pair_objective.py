"""What is minimised over one vector a sample: the contrastive loss plus the weighted R_S of each side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from structure.pipeline.aligners.heads.head import Head
from structure.pipeline.aligners.losses.perplexity_affinity import perplexity_loss
from structure.pipeline.aligners.losses.similarity_space import SimilaritySpace
from structure.pipeline.aligners.losses.structure_loss import Frozen, freeze, structure_loss
from structure.pipeline.aligners.objective import ContrastiveObjective, Losses, PairBatch
from structure.pipeline.aligners.option_groups import PairOptions, StructureOptions

MOST_KEPT = 4096
"""Rows up to which the frozen side of a batch that never changes is saved: two N x N matrices, 134 MB at most."""


class PairObjective(ContrastiveObjective):
    """Equation 4 of arXiv 2506.16895: L_align + weight (R_S(vision) + R_S(text))."""

    options: PairOptions

    def prepared(self, batch: PairBatch, *, repeats: bool) -> PairBatch:
        """The frozen sides of a batch that `repeats` are computed once and saved."""
        if not repeats or len(batch.vision) > MOST_KEPT or self.options.rs_affinity == "perplexity":
            return batch
        return replace(
            batch,
            vision_frozen=batch.vision if batch.vision_extra is not None else freeze(batch.vision, self.space),
            text_frozen=batch.text if batch.text_extra is not None else freeze(batch.text, self.space),
        )

    def losses(self, batch: PairBatch, *, structure: bool) -> tuple[Losses, torch.Tensor, torch.Tensor]:
        losses, images, texts = super().losses(batch, structure=structure)
        if not structure:
            return losses, images, texts
        of_vision = self._structure_loss(self.vision, batch.vision_frozen, images, batch.vision_extra)
        of_text = self._structure_loss(self.text, batch.text_frozen, texts, batch.text_extra)
        return Losses(losses.contrastive, of_vision, of_text), images, texts

    def total(self, losses: Losses, *, weight: float | torch.Tensor) -> torch.Tensor:
        vision, text = self.options.side_weights
        if vision == text == self.options.weight:
            both = losses.structure_vision + losses.structure_text
        else:  # `weight` is that of this step, on its way to the full one
            full = self.options.weight
            both = (vision / full) * losses.structure_vision + (text / full) * losses.structure_text
        return losses.contrastive + weight * (both / 2 if self.options.combine == "mean" else both)

    @property
    def space(self) -> SimilaritySpace:
        """Where R_S compares neighbourhoods."""
        return structure_space(self.options)

    def _structure_loss(
        self, head: Head, before: torch.Tensor | Frozen, after: torch.Tensor, extra: torch.Tensor | None
    ) -> torch.Tensor:
        options = self.options
        if extra is not None:
            more = self.embed(head, extra)
            if options.extras == "replace":
                before, after = extra, more
            elif isinstance(before, torch.Tensor):
                before, after = torch.cat([before, extra]), torch.cat([after, more])
        if options.rs_affinity == "perplexity":
            assert isinstance(before, torch.Tensor)
            return perplexity_loss(before, after, perplexity=options.perplexity, space=self.space)
        return structure_loss(before, after, temperature=self.space.temperature, **structure_options(options))


def structure_space(options: PairOptions) -> SimilaritySpace:
    """Where R_S compares neighbourhoods: at its own temperature, or that of the contrastive loss."""
    temperature = options.temperature if options.rs_temperature is None else options.rs_temperature
    return SimilaritySpace(temperature, options.similarity, options.gamma, options.centring, options.centre_first)


def structure_options(options: StructureOptions) -> dict[str, Any]:
    """What `structure_loss` is told, besides the temperature."""
    return {
        "levels": options.levels,
        "divergence": options.divergence,
        "weighting": options.weighting,
        "centring": options.centring,
        "centre_first": options.centre_first,
        "similarity": options.similarity,
        "gamma": options.gamma,
        "margin": options.margin,
    }
