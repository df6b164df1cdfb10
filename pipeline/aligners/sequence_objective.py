"""What token-level and set aligners minimise: the contrastive loss alone, over items of several vectors."""

from __future__ import annotations

from typing import Any

import torch

from structure.pipeline.aligners.heads.head import Head
from structure.pipeline.aligners.losses.set_alignment import set_alignment_loss
from structure.pipeline.aligners.objective import Losses, Objective, PairBatch
from structure.pipeline.aligners.padded import Padded


class TokenObjective(Objective):
    """Heads that read `Padded` tokens, and the contrastive loss of what they make. There is no R_S: it compares one
    frozen vector an item, and here there is none."""

    def batch(
        self,
        vision: Any,
        text: Any,
        *,
        extra: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None),
        repeats: bool = False,
    ) -> PairBatch:
        """The padded rows as they are: they are widened to float32 piece by piece, in the heads."""
        return PairBatch(vision, text, vision, text)

    def losses(self, batch: PairBatch, *, structure: bool) -> tuple[Losses, torch.Tensor, torch.Tensor]:
        return super().losses(batch, structure=False)


class SetObjective(TokenObjective):
    """SMA as reconstructed: an ordinary head on every view and every caption, and the set alignment loss.

    The embeddings it gives for the retrieval check are those of each entity's first view and first caption.
    """

    def losses(self, batch: PairBatch, *, structure: bool) -> tuple[Losses, torch.Tensor, torch.Tensor]:
        options = self.options
        views, captions = self._embed_sets(self.vision, batch.vision), self._embed_sets(self.text, batch.text)
        loss = set_alignment_loss(
            views.values,
            captions.values,
            kind=options.information,  # type: ignore[arg-type]
            eta=options.eta,
            temperature=options.temperature,
            sharpness=options.sharpness or None,
            divergence=options.mu,
            ridge=0.1 if options.ridge is None else options.ridge,
            views_mask=views.mask,
            captions_mask=captions.mask,
        )
        nothing = torch.zeros_like(loss)
        return Losses(loss, nothing, nothing), views.first(), captions.first()

    def _embed_sets(self, head: Head, sets: Any) -> Padded:
        rows: Padded = sets
        vectors = rows.values.masked_fill(~rows.mask[..., None], 0.0).float().flatten(0, 1)
        return Padded(self._embed(head, vectors).view(*rows.mask.shape, head.dim), rows.mask)
