"""What token-level and set aligners minimise: a contrastive loss alone, over samples of several vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from structure.pipeline.aligners.heads.head import Head
from structure.pipeline.aligners.losses.set_alignment import set_alignment_loss
from structure.pipeline.aligners.objective import ContrastiveObjective, Losses, Objective, PairBatch
from structure.pipeline.aligners.option_groups import GradientOptions
from structure.pipeline.aligners.padded import Padded


class TokenObjective(ContrastiveObjective):
    """Heads that read `Padded` tokens, and the contrastive loss of what they make. There is no R_S: it compares one
    frozen vector a sample, and here there is none."""

    def rows(self, features: Any) -> Any:
        """The padded rows as they are: they are widened to float32 piece by piece, in the heads."""
        return features


class SetObjective(Objective):
    """SMA as reconstructed: an ordinary head on every view and every caption, and the set alignment loss.

    `alignment` is what `set_alignment_loss` is told. The embeddings it gives for the retrieval check are those of each
    entity's first view and first caption.
    """

    def __init__(self, vision: Head, text: Head, options: GradientOptions, *, alignment: Mapping[str, Any]) -> None:
        super().__init__(vision, text, options, scale=1 / options.temperature)
        self.alignment = alignment

    def rows(self, features: Any) -> Any:
        """The padded rows as they are: they are widened to float32 piece by piece, in the heads."""
        return features

    def losses(self, batch: PairBatch, *, structure: bool) -> tuple[Losses, torch.Tensor, torch.Tensor]:
        views, captions = self._embed_sets(self.vision, batch.vision), self._embed_sets(self.text, batch.text)
        masks = {"views_mask": views.mask, "captions_mask": captions.mask}
        loss = set_alignment_loss(views.values, captions.values, **self.alignment, **masks)
        return Losses.without_structure(loss), views.first(), captions.first()

    def _embed_sets(self, head: Head, sets: Any) -> Padded:
        rows: Padded = sets
        vectors = rows.values.masked_fill(~rows.mask[..., None], 0.0).float().flatten(0, 1)
        return Padded(self.embed(head, vectors).view(*rows.mask.shape, head.dim), rows.mask)
