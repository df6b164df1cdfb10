"""What R_S will do on some pairs, said before training: nothing, or work beside the contrastive loss, or against it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from structure.pipeline.aligners.arrays import as_tensor
from structure.pipeline.aligners.losses.structure_loss import freeze
from structure.pipeline.aligners.option_groups import PairOptions
from structure.pipeline.aligners.pair_objective import structure_space

MOST_ROWS = 2048
"""Rows of a batch that are looked at, at most: two matrices of 34 MB."""

INERT, CONFLICT = 0.05, 1.0
"""Nats of the bound below which R_S did nothing and above which it cost retrieval, on five sets (see `docs`)."""

MEANINGS = {
    "inert": "R_S has hardly any gradient: both neighbourhoods are nearly the identity, or alike already",
    "fits": "R_S can hold without spoiling the alignment",
    "in conflict": "images and texts have different neighbourhoods, and no aligned space can keep both: R_S pulls "
    "against the contrastive loss",
}


@dataclass(frozen=True)
class StructureDiagnosis:
    """`js`: mean JS(P_V, P_T) in nats, at most log 2, of the frozen neighbourhoods in a batch of `rows`; the mean
    diagonals of both P; `bound` in nats: what weighted R_S costs at least in a space where both sides coincide;
    `text_within`: share of the variance of text features within samples, where these have several captions."""

    js: float
    vision_diagonal: float
    text_diagonal: float
    bound: float
    rows: int
    text_within: float | None = None

    @property
    def verdict(self) -> str:
        """inert, fits, or in conflict."""
        return "inert" if self.bound < INERT else "in conflict" if self.bound > CONFLICT else "fits"

    def sentence(self) -> str:
        """All of it for a reader."""
        within = "" if self.text_within is None else f", text variance within samples {self.text_within:.0%}"
        return (
            f"R_S on these pairs is {self.verdict}: {MEANINGS[self.verdict]}. weight/2 * JS(P_V, P_T) is "
            f"{self.bound:.2f} nats (below {INERT} inert, above {CONFLICT:g} in conflict); JS {self.js:.4f}, mean "
            f"diagonal {self.vision_diagonal:.3f} of P_V, {self.text_diagonal:.3f} of P_T in a batch of "
            f"{self.rows:,}{within}."
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "verdict": self.verdict}


@torch.no_grad()
def diagnose(vision: Any, text: Any, options: PairOptions, *, text_within: float | None = None) -> StructureDiagnosis:
    """Of frozen features (n, dv) and (n, dt) that pair, on a seeded draw as large as a batch, at most 2,048.

    If both aligned sides coincide, sqrt(JS) being a metric gives R_S(v) + R_S(t) >= JS(P_V, P_T) / 2.
    """
    rows = np.sort(np.random.default_rng(options.seed).permutation(len(vision))[: min(options.batch, MOST_ROWS)])
    space = structure_space(options)
    log_v, log_t = (freeze(as_tensor(side[rows][:]).float(), space).log_p for side in (vision, text))
    log_m = torch.logaddexp(log_v, log_t) - float(np.log(2))
    parts = [(log.exp() * (log - log_m)).sum(dim=1).mean() for log in (log_v, log_t)]
    js = max(float(sum(parts)) / 2, 0.0)
    weight = min(options.side_weights) / (2 if options.combine == "mean" else 1)
    of_vision, of_text = (float(log.diagonal().exp().mean()) for log in (log_v, log_t))
    return StructureDiagnosis(js, of_vision, of_text, weight * js / 2, len(rows), text_within)


def share_within(rows: np.ndarray, samples: np.ndarray) -> float | None:
    """Share of the variance of unit rows (n, width) within samples (n,), over those that have several; None where no
    sample has."""
    _, of_row, counts = np.unique(samples, return_inverse=True, return_counts=True)
    several = counts[of_row] > 1
    if not several.any():
        return None
    x = rows[several].astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12)
    _, group = np.unique(of_row[several], return_inverse=True)
    sums = np.zeros((group.max() + 1, x.shape[1]))
    np.add.at(sums, group, x)
    means = sums / np.bincount(group)[:, None]
    total = np.square(x - x.mean(axis=0)).sum()
    return float(np.square(x - means[group]).sum() / total) if total > 0 else None
