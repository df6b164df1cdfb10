"""What every method returns: an aligner and how it came about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structure.pipeline.aligners.aligner import Aligner
    from structure.pipeline.aligners.lr_range_test import RateCurve


@dataclass(frozen=True, kw_only=True)
class FitFigures:
    """How an aligner came about.

    `history`: one flat dict of numbers per epoch (empty for closed forms): epoch (from 1), step, rate, weight, loss and
    its parts over the epoch (contrastive, R_S_vision, R_S_text), the same of the validation pairs with `val_` before,
    `val_image_retrieval_recall@1` and `val_text_retrieval_recall@1`, seconds since the start. `curve` is the
    learning-rate range test, None where the rate was given. `best_epoch` is the one whose weights the aligner holds.
    `refit_pairs` is 0, or how many pairs the weights were fitted to once more after the choice; the metrics are then
    those of the choice.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    curve: RateCurve | None = None
    rate: float | None = None
    pairs: int = 0
    validation_pairs: int = 0
    refit_pairs: int = 0
    epochs: int = 0
    best_epoch: int = 0
    seconds: float = 0.0
    pairs_per_second: float = 0.0


@dataclass(frozen=True)
class FitResult(FitFigures):
    """An aligner and how it came about."""

    aligner: Aligner
