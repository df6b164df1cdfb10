"""The STRUCTURE regulariser R_S: how far the aligned space has moved from the neighbourhoods of the frozen one.

Source: "With Limited Data for Multimodal Alignment, Let the STRUCTURE Guide You", arXiv 2506.16895, section 3.2. For
N rows: unit rows, minus their mean; S = Z Z^T / temperature; P = row softmax of S, diagonal included; P^l its matrix
power; R_S = (1/L) sum_l w_l mean_rows JS(P_before^l, P_after^l), with w_l = 1/l ("inverse") or 1 ("uniform"). The other
choices are those of the authors' released code; docs/structure-differences.md lists where it and the paper differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch

from structure.pipeline.aligners.arrays import Array, as_tensor, computing_dtype
from structure.pipeline.aligners.losses.choices import Centring, Divergence, Similarity, Weighting
from structure.pipeline.aligners.losses.similarity_space import SimilaritySpace
from structure.pipeline.aligners.losses.structure_gradients import (
    Comparison,
    Powers,
    SoftmaxRows,
    Tiled,
    all_logits,
    softmax_rows,
    tiles,
)
from structure.store.errors import unknown


@dataclass(frozen=True)
class Frozen:
    """The frozen side of R_S, saved: `p` (N, N) is its row softmax. For a batch that never changes."""

    p: torch.Tensor
    space: SimilaritySpace

    def rows(self, mine: slice, out: torch.Tensor | None = None) -> torch.Tensor:
        """Rows of `p`: nothing is made, `out` stays as it is."""
        return self.p[mine]


def structure_loss(
    before: Array | Frozen,
    after: Array,
    *,
    levels: int = 1,
    temperature: float = 0.05,
    divergence: Divergence = "js",
    weighting: Weighting = "inverse",
    centring: Centring = "mean",
    centre_first: bool = False,
    similarity: Similarity = "cosine",
    gamma: float = 1.0,
    margin: float = 0.0,
) -> torch.Tensor:
    """R_S of one modality: a 0-d tensor on the device of `after`, the mean over rows, differentiable in `after`.

    `before` (N, d) are the frozen features, `after` (N, e) the aligned ones, raw: rows are normalised here. `before`
    is a constant, and may be what `freeze` saved of it. float64 if `after` is, else float32, whatever autocast says.

    `divergence`: "js" is Jensen-Shannon with natural logs, in [0, log 2]. "released" is what the authors' code
    computes, 1/2 [KL(M || P_after) + KL(M || P_before)] with 1e-12 added to each probability: not bounded.
    `centring`, `centre_first`, `similarity` and `gamma` are those of `SimilaritySpace`; "spearman" has no gradient.
    `margin` is subtracted from each level, floor 0. Raises StructureError for unknown options, ValueError where shapes
    or numbers make no sense.
    """
    for kind, value, known in (("divergence", divergence, Divergence), ("weighting", weighting, Weighting)):
        if value not in get_args(known):
            raise unknown(kind, value, get_args(known))
    space = SimilaritySpace(temperature, similarity, gamma, centring, centre_first)
    aligned = as_tensor(after)
    dtype = computing_dtype(aligned)
    rows = len(before.p) if isinstance(before, Frozen) else len(before)
    if aligned.ndim != 2 or rows != len(aligned) or not rows:
        raise ValueError(f"before has {rows} rows, after has shape {tuple(aligned.shape)}: row i must be row i")
    if levels < 1:
        raise ValueError(f"levels={levels} must be at least 1")
    with torch.autocast(aligned.device.type, enabled=False):
        if isinstance(before, Frozen):
            if before.space != space:
                raise ValueError(f"the frozen side was saved for another temperature or space: {before.space}")
            of_p: SoftmaxRows = before.rows
        else:
            with torch.no_grad():
                features = as_tensor(before).detach().to(aligned.device, dtype)
                of_p = softmax_rows(space.place(features), space)
        # After the frozen side, whose rows have left room for these.
        z = space.place(aligned.to(dtype))
        weights = [1 / (levels * (level if weighting == "inverse" else 1)) for level in range(1, levels + 1)]
        how = Comparison(space, divergence, weights, margin)
        loss: torch.Tensor = (Tiled if levels == 1 else Powers).apply(z, of_p, how)
    return loss


@torch.no_grad()
def freeze(before: Array, space: SimilaritySpace | None = None) -> Frozen:
    """The frozen side computed once: N x N numbers, worth it where the batch is the whole set and fits."""
    space = space or SimilaritySpace()
    features = as_tensor(before)
    z = space.place(features.to(computing_dtype(features)))
    p = all_logits(z, space)
    for start, stop in tiles(z):
        p[start:stop] = torch.softmax(p[start:stop], dim=1)
    return Frozen(p, space)
