"""Fits of a curve: a variant on some pairs, measured on the test pairs."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.aligner_method import fit_data, method
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.aligners.unpaired import Unpaired
from structure.pipeline.metrics.retrieval_ranks import retrieval_ranks
from structure.pipeline.metrics.sampling import sampling_of_values
from structure.pipeline.pair_curves.fits import METRICS, CurveFit
from structure.pipeline.pair_curves.variants import CurveVariant
from structure.store.errors import StructureError

METRICS_ALONE = 8
"""Validation pairs of a method that chooses nothing by them: training pairs, so that none need be held out."""


@dataclass(frozen=True)
class Measuring:
    """Fits to some of the `training` pairs, ((n, dv), (n, dt)), measured on the `test` pairs; in memory."""

    training: tuple[Any, Any]
    test: tuple[Any, Any]
    device: str = "auto"

    def fit(self, variant: CurveVariant, rows: np.ndarray, unpaired: Unpaired, *, seed: int) -> CurveFit:
        """A variant on the pairs with these numbers and the unpaired rows, or why it refuses them. Closed forms train
        on all pairs, others hold out their own validation pairs."""
        vision, text = (side[rows] for side in self.training)
        done = CurveFit(variant.label, variant.method, len(rows), seed)
        try:
            widths = (int(vision.shape[1]), int(text.shape[1]))
            if len(rows) < method(variant.method).least_pairs:
                least = method(variant.method).least_pairs
                return replace(done, refused=f"it needs at least {least} pair{'s' if least > 1 else ''}")
            options = variant.options(widths=widths, pairs=len(rows), common={"seed": seed, "device": self.device})
            aligning = method(options.method)
            seen = Unpaired() if aligning.use_of_unpaired(options) == "unused" else unpaired
            few = (vision[:METRICS_ALONE], text[:METRICS_ALONE])
            validation = None if aligning.chooses_epoch or len(rows) < 2 else few
            began = time.perf_counter()
            data = TrainingData(vision, text, validation=validation, unpaired=seen)
            aligner = fit_data(data, options).aligner
        except StructureError as error:
            return replace(done, refused=str(error))
        counts = [0 if side is None else len(side) for side in (seen.vision, seen.text)]
        return replace(
            done,
            unpaired=(counts[0], counts[1]),
            seconds=round(time.perf_counter() - began, 3),
            metrics=measured(aligner, *self.test),
        )


def measured(aligner: Aligner, vision: Any, text: Any) -> dict[str, dict[str, float]]:
    """Each of `METRICS` on test pairs (n, dv) and (n, dt): its value, and the error that the pairs leave."""
    values = pair_metrics(aligner, vision, text)
    found = {}
    for name, each in values.items():
        error = sampling_of_values(each, bounds=(0.0, 1.0))
        found[name] = {"value": float(each.mean()), **asdict(error)}
    return found


def pair_metrics(aligner: Aligner, vision: Any, text: Any) -> dict[str, np.ndarray]:
    """(n,) of each metric, a value for each test pair."""
    ranks = retrieval_ranks(aligner.embed_images(vision), aligner.embed_texts(text), np.arange(len(vision)))
    sides = np.stack([ranks.of_images, ranks.of_texts]).astype(np.float64)
    each = {
        "R@1": sides < 1,
        "R@10": sides < 10,
        "mrr": 1 / (1 + sides),
        "FOSCTTM": sides / (len(vision) - 1),
    }
    return {name: each[name].mean(axis=0) for name in METRICS}
