"""Rows without a partner: R_S can see more of a modality than its pairs, the contrastive loss cannot."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from structure.pipeline.aligners.arrays import Array, as_tensor, check_rows
from structure.store.errors import StructureError


@dataclass(frozen=True)
class Unpaired:
    """Features of the layers that are aligned, (m, dv) and (k, dt), of samples that are in no pair; None for none."""

    vision: Array | None = None
    text: Array | None = None

    def __bool__(self) -> bool:
        return self.vision is not None or self.text is not None

    def check(self, widths: tuple[int, int]) -> None:
        """Raises StructureError for rows that are not finite or of another width than the pairs."""
        for rows, what, width in ((self.vision, "vision", widths[0]), (self.text, "text", widths[1])):
            if rows is None:
                continue
            if rows.ndim == 2 and rows.shape[1] != width:
                raise StructureError(
                    f"The unpaired {what} features are {rows.shape[1]} wide, those of the pairs {width}. "
                    "Take features of the same encoder and layer."
                )
            check_rows(rows, f"unpaired {what}")

    def to(self, device: torch.device) -> Unpaired:
        """The same rows on the device that trains."""
        moved = [None if rows is None else as_tensor(rows).to(device) for rows in (self.vision, self.text)]
        return Unpaired(*moved)

    def draw(self, count: int, *, seed: int) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """At most `count` rows of each side without replacement; the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        drawn: list[torch.Tensor | None] = []
        for side in (self.vision, self.text):
            if side is None:
                drawn.append(None)
                continue
            rows = as_tensor(side)
            drawn.append(rows[torch.randperm(len(rows), generator=generator)[:count].to(rows.device)])
        return drawn[0], drawn[1]


NO_EXTRAS = Unpaired()
