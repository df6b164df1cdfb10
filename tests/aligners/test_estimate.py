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


def test_a_closed_form_that_says_no_operations_is_timed(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.zeros((1000, 2), dtype=np.float32)
    monkeypatch.setattr(forecast, "closed_operations", lambda *_, **__: None)
    told = seconds_at_most(rows, rows, TrainingOptions(method="procrustes"), pairs=100_000)
    assert told == pytest.approx(0.2 + 100_000 / 10_000)


@pytest.mark.parametrize("method", ["csa", "procrustes", "ridge", "mean-shift", "asif", "relative", "kernel-csa"])
def test_a_closed_form_is_told_by_its_operations(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """At the speed of this machine's products, without a fit."""
    options = TrainingOptions(**applicable({"method": method, "regulariser": "none"}))
    seconds = {}
    for speed, pairs in ((1e9, 1_000_000), (2e9, 1_000_000), (1e9, 20_000)):
        monkeypatch.setattr(forecast, "speed", lambda speed=speed: speed)
        rows = np.zeros((9, 96), dtype=np.float32)
        seconds[speed, pairs] = seconds_at_most(rows, rows, options, pairs=pairs)
    assert clock.fits == 0
    assert seconds[1e9, 1_000_000] == pytest.approx(2 * seconds[2e9, 1_000_000])
    growth = seconds[1e9, 1_000_000] / seconds[1e9, 20_000]
    assert (1 < growth < 5) if method in ("asif", "relative") else (5 < growth <= 51)


def test_an_epoch_of_csa_is_of_the_pairs_that_r_s_sees(clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "speed", lambda: 1e30)
    monkeypatch.setattr(forecast, "_timed", lambda *_: (9.0, 0.5, 10))
    rows = np.zeros((1000, 2), dtype=np.float32)
    some = TrainingOptions(method="csa", batch=450, structure_pairs=1800)
    assert seconds_at_most(rows, rows, some, pairs=1_000_000) == pytest.approx(10 * 0.5 * 2)
    every = some.changed(structure_pairs=None)
    assert seconds_at_most(rows, rows, every, pairs=10_000) == pytest.approx(10 * 0.5 * 10)


def test_memory_counts_the_program_the_pairs_and_what_a_method_holds() -> None:
    told = {
        name: forecast.bytes_at_most(TrainingOptions(**given), widths=(64, 64), pairs=100_000, held=held)
        for name, given, held in (
            ("procrustes", {"method": "procrustes"}, 10**9),
            ("in passes", {"method": "procrustes"}, 10**8),
            ("asif", {"method": "asif"}, 10**8),
            ("all anchors", {"method": "asif", "most_anchors": None}, 10**8),
        )
    }
    assert forecast.program_bytes() > 10**8
    assert told["procrustes"] - told["in passes"] == pytest.approx(9 * 10**8, abs=10**7)
    assert told["asif"] > told["in passes"] + 16 * 4096 * 8000
    assert told["all anchors"] > told["asif"] + 16 * 4096 * 80_000


@pytest.mark.parametrize("method", ["linear", "csa", "procrustes"])
def test_real_runs_are_probed_without_being_finished(method: str) -> None:
    draws = np.random.default_rng(0)
    rows = draws.standard_normal((64, 6)).astype(np.float32)
    options = TrainingOptions(**applicable({"method": method, "dim": 4, "epochs": 100_000, "patience": 100_000}))
    assert seconds_at_most(rows, rows @ draws.standard_normal((6, 5)).astype(np.float32), options, pairs=640) > 0
