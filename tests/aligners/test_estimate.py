"""How long a training takes at most: its epochs are counted, and each costs what one of the probe did."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from structure.pipeline.aligners import estimate as forecast
from structure.pipeline.aligners.estimate import probed_pairs, seconds_at_most
from structure.pipeline.aligners.lr_range_test import ITERATIONS
from structure.pipeline.aligners.option_groups import GradientOptions
from structure.pipeline.aligners.options import TrainingOptions, applicable
from structure.pipeline.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Trainings that take half a second and then a quarter a batch; closed forms 0.2 s and 0.1 ms a pair."""
    place = SimpleNamespace(now=0.0, fits=0)

    def fit(vision: Any, text: Any, *, options: TrainingOptions, on_event: Any) -> None:
        place.fits += 1
        if not isinstance(options, GradientOptions):
            place.now += 0.2 + len(vision) / 10_000
            return
        assert options.learning_rate is not None  # the learning-rate range test is not waited for
        place.now += 0.5
        for epoch in range(1, options.epochs + 1):
            place.now += 0.25 * (len(vision) * (1 - options.validation) / options.batch)
            on_event(Progress("training", epoch, options.epochs, "epochs"))

    monkeypatch.setattr(forecast, "fit", fit)
    monkeypatch.setattr(forecast, "time", SimpleNamespace(perf_counter=lambda: place.now))
    return place


@pytest.mark.parametrize(("epochs", "refit", "seconds"), [(300, False, 752.5), (300, True, 1502.5), (1, False, 5.0)])
def test_epochs_are_counted(clock: SimpleNamespace, epochs: int, refit: bool, seconds: float) -> None:
    """Ten batches an epoch; a single epoch cannot be told from what comes before it."""
    options = TrainingOptions(batch=90, epochs=epochs, validation=0.1, learning_rate=1e-3, refit=refit)
    rows = np.zeros((200, 2), dtype=np.float32)
    assert seconds_at_most(rows, rows, options, pairs=1000) == pytest.approx(seconds)
    assert clock.now < 20
    searched = seconds_at_most(rows, rows, options.changed(learning_rate=None), pairs=1000)
    assert searched >= seconds + ITERATIONS * 0.25


def test_a_probe_has_batches_of_the_real_size() -> None:
    assert probed_pairs(TrainingOptions(batch=4096, validation=0.1), tokens=False) * 0.9 >= 2 * 4096
    assert probed_pairs(TrainingOptions(method="pal"), tokens=True) < 1000


def test_a_closed_form_grows_with_its_pairs(clock: SimpleNamespace) -> None:
    rows = np.zeros((1000, 2), dtype=np.float32)
    told = seconds_at_most(rows, rows, TrainingOptions(method="procrustes"), pairs=100_000)
    assert told == pytest.approx(0.2 + 100_000 / 10_000)


@pytest.mark.parametrize("method", ["linear", "csa", "procrustes"])
def test_real_runs_are_probed_without_being_finished(method: str) -> None:
    draws = np.random.default_rng(0)
    rows = draws.standard_normal((64, 6)).astype(np.float32)
    options = TrainingOptions(**applicable({"method": method, "dim": 4, "epochs": 100_000, "patience": 100_000}))
    assert seconds_at_most(rows, rows @ draws.standard_normal((6, 5)).astype(np.float32), options, pairs=640) > 0
