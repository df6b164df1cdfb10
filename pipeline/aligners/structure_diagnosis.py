"""What R_S will do on some pairs, said before training: nothing, or work beside the contrastive loss, or against it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from structure.pipeline.aligners.arrays import as_tensor
from structure.pipeline.aligners.losses.structure_gradients import divergence_of
from structure.pipeline.aligners.losses.structure_loss import freeze
from structure.pipeline.aligners.option_groups import PairOptions
from structure.pipeline.aligners.pair_objective import structure_space
from structure.pipeline.aligners.structure_verdict import StructureDiagnosis

MOST_ROWS = 2048
"""Rows of a batch that are looked at, at most: two matrices of 34 MB."""


@torch.no_grad()
def diagnose(vision: Any, text: Any, options: PairOptions, *, text_within: float | None = None) -> StructureDiagnosis:
    """Of frozen features (n, dv) and (n, dt) that pair, on a seeded draw as large as a batch, at most 2,048.

    If both aligned sides coincide, sqrt(JS) being a metric gives R_S(v) + R_S(t) >= JS(P_V, P_T) / 2.
    """
    rows = np.sort(np.random.default_rng(options.seed).permutation(len(vision))[: min(options.batch, MOST_ROWS)])
    space = structure_space(options)
    of_vision, of_text = (freeze(as_tensor(side[rows][:]).float(), space).p for side in (vision, text))
    js = max(float(divergence_of(of_vision, of_text, "js")[0]) / len(rows), 0.0)
    weight = min(options.side_weights) / (2 if options.combine == "mean" else 1)
    vision_diagonal, text_diagonal = (float(p.diagonal().mean()) for p in (of_vision, of_text))
    return StructureDiagnosis(js, vision_diagonal, text_diagonal, weight * js / 2, len(rows), text_within)


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
