"""What a forecast would fit, before it does, and how long by a probe."""

from __future__ import annotations

import time

import numpy as np

from structure.pipeline.device import cores, one_thread
from structure.pipeline.forecast.kernel_csa_recall import cosines_of, held_out_recall
from structure.pipeline.forecast.learning_curve import MOST_PAIRS, K, training_sizes
from structure.pipeline.pairing.pairs import pair_rows
from structure.pipeline.work_estimate import WorkEstimate
from structure.store import FeatureSet, Rows, Store

PROBED = 100
"""Training pairs of the timed fit."""


def estimate_forecast(store: Store, sets: tuple[FeatureSet, FeatureSet]) -> list[WorkEstimate]:
    """The fits of a forecast, timed by one on the last layers; none where the pairs are too few for one."""
    rows = pair_rows(store, *sets)
    sizes, used = np.array(training_sizes(len(rows)), dtype=np.float64), min(len(rows), MOST_PAIRS)
    if not len(sizes):
        return []
    probed = rows.subset(min(PROBED, used), seed=0)
    vision, text = (
        np.asarray(Rows(features, features.layers[-1], numbers)[:])
        for features, numbers in zip(sets, (probed.vision, probed.text), strict=True)
    )
    with one_thread():
        for _ in range(2):  # the first fit of a process begins slowly
            began = time.perf_counter()
            held_out_recall(cosines_of(vision, text), np.arange(len(vision)), np.arange(len(vision)), k=K)
            took = time.perf_counter() - began
    # A small fit is all overhead; of a large one decompositions take the time, which grow with the cube.
    seconds = took * float(np.maximum(sizes / PROBED, (sizes / PROBED) ** 3 / 4).sum()) / cores()
    memory = used * (vision.shape[1] + text.shape[1]) * 4
    return [WorkEstimate("forecast (fits)", used, len(sizes), 0, memory, seconds)]
