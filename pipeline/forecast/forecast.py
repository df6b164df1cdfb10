"""Will it align, and how many pairs does it take: what is told at the end of a ranking."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from structure.pipeline.forecast.extrapolation import ForecastPoint, extrapolate
from structure.pipeline.forecast.kernel_csa_recall import METHOD
from structure.pipeline.forecast.learning_curve import (
    LEAST_PAIRS,
    MOST_PAIRS,
    K,
    LearningCurve,
    measure_curve,
    training_sizes,
)
from structure.pipeline.forecast.similarity_recall import Prediction, similarity_table, subset_similarity
from structure.pipeline.model_selection.folds import draw_rows
from structure.pipeline.model_selection.stored import sample_groups
from structure.pipeline.pairing.pairs import PairedRows, pair_rows
from structure.pipeline.progress import Listener, Progress, silent
from structure.store import FeatureSet, Rows, Store
from structure.store.errors import StructureError

PAIRS = (100, 300, 1000, 3000, 10_000)
"""Numbers of pairs that are told."""


@dataclass(frozen=True)
class Forecast:
    """Expected recall@10 of `METHOD` on two `layers` over the number of training pairs, from a curve over `used` of the
    `pairs` that are there; `prediction` is what similarity alone says. `why_none`: why there is no curve."""

    layers: tuple[str, str]
    pairs: int
    used: int = 0
    curve: LearningCurve | None = None
    points: tuple[ForecastPoint, ...] = ()
    prediction: Prediction | None = None
    why_none: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        curve = self.curve
        if curve is None:
            return {"none": self.why_none, "pairs_there": self.pairs, "sentences": self.sentences()}
        return {
            "method": METHOD,
            "layers": dict(zip(("vision", "text"), self.layers, strict=True)),
            "metric": f"recall@{K}, mean of both directions",
            "gallery": curve.gallery,
            "chance": K / curve.gallery,
            "pairs_there": self.pairs,
            "pairs_used": self.used,
            "points": [point.to_dict() for point in self.points],
            "curve": [
                {"pairs": point.pairs, "value": point.recall, "fits": len(point.recalls)} for point in curve.points
            ],
            "similarity": None if self.prediction is None else self.prediction.to_dict(),
            "sentences": self.sentences(),
        }

    def sentences(self) -> list[str]:
        """It in words."""
        curve = self.curve
        if curve is None:
            return [f"No forecast: {self.why_none}."]
        measured = [point for point in self.points if point.is_measured]
        beyond = [point for point in self.points if not point.is_measured]
        last = curve.points[-1].pairs
        told = [f"{_listed(measured)} (measured)"] if measured else []
        told += [f"{_listed(beyond)} (extrapolated from {last:,})"] if beyond else []
        return [
            f"Forecast, held-out R@{K} of both directions among {curve.gallery:,} pairs (chance "
            f"{K / curve.gallery:.3f}), {METHOD} on {self.layers[0]} and {self.layers[1]}: {'; '.join(told)}.",
            *([] if self.prediction is None else [self.prediction.sentence()]),
        ]


def forecast(
    store: Store,
    sets: tuple[FeatureSet, FeatureSet],
    layers: tuple[str, str],
    *,
    seed: int,
    on_event: Listener = silent,
) -> Forecast:
    """The forecast for two layers of feature sets whose rows pair, one row a sample. Samples with one image or one text
    are held out together. Raises as reading the layers does."""
    rows = pair_rows(store, *sets)
    if len(rows) < LEAST_PAIRS:
        few = f"{len(rows):,} pairs are too few: {K} of a third of them are no answer; it takes {LEAST_PAIRS}"
        return Forecast(layers, len(rows), why_none=few)
    groups = sample_groups(store, sets, rows, column=None)
    chosen = draw_rows(np.arange(len(rows)), groups, MOST_PAIRS, seed=seed)
    vision, text = _read(sets, layers, rows.take(chosen))
    made = forecast_of(vision, text, groups[chosen], layers=layers, seed=seed, on_event=on_event)
    return replace(made, pairs=len(rows))


def forecast_of(
    vision: np.ndarray,
    text: np.ndarray,
    groups: np.ndarray,
    *,
    layers: tuple[str, str],
    seed: int,
    on_event: Listener = silent,
) -> Forecast:
    """`forecast` on features (n, dv) and (n, dt) of at least `LEAST_PAIRS` pairs in `groups` (n,)."""
    expected = len(training_sizes(len(groups)))

    def told(done: int) -> None:
        on_event(Progress("forecast", min(done, expected), expected, "fits"))

    try:
        curve = measure_curve(vision, text, groups, seed=seed, on_fit=told)
    except StructureError as error:
        return Forecast(layers, len(groups), why_none=str(error).rstrip("."))
    similarity = subset_similarity(vision, text, seed=seed)
    prediction = None if similarity is None else similarity_table().predict(similarity)
    points = tuple(extrapolate(curve, PAIRS))
    return Forecast(layers, len(groups), len(groups), curve, points, prediction)


def _read(
    sets: tuple[FeatureSet, FeatureSet], layers: tuple[str, str], rows: PairedRows
) -> tuple[np.ndarray, np.ndarray]:
    first, second = (
        np.asarray(Rows(features, layer, numbers)[:])
        for features, layer, numbers in zip(sets, layers, (rows.vision, rows.text), strict=True)
    )
    return first, second


def _listed(points: list[ForecastPoint]) -> str:
    return ", ".join(f"{p.pairs:,} pairs {p.value:.2f} [{p.low:.2f}, {p.high:.2f}]" for p in points)
