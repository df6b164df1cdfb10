from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from structure.pipeline.aligners.lr_range_test import choose_rate, find_rate
from structure.pipeline.aligners.released_range_test import find_released_rate
from structure.pipeline.aligners.schedule import clip_gradients, cosine, published_period, warm_up


def test_warm_up_and_cosine():
    assert [warm_up(step, steps=4) for step in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert warm_up(0, steps=0) == 1
    assert [cosine(step, period=50) for step in (0, 25, 50, 100)] == pytest.approx([1, 0.5, 0, 1])
    assert [published_period(rows, batch=4096) for rows in (100, 4096, 8191, 82_783)] == [50, 50, 50, 1000]
    assert published_period(1000, batch=100) == 500


def test_golden_cosine_period(golden):
    file = np.load(golden / "cosine_period.npz")
    for rows, batch, cycles, period, _ in file["table"].tolist():
        assert published_period(rows, batch=batch) * cycles == period * 50
    rates = [1e-3 * cosine(step, period=50) for step in range(len(file["lr_T50_base1e3"]))]
    np.testing.assert_allclose(rates, file["lr_T50_base1e3"], atol=1e-15)


SERIES = ("smooth", "noisy", "early", "monotone", "increasing", "floored", "nonfinite", "first_nonfinite")


@pytest.mark.parametrize("series", SERIES)
def test_golden_released_range_test(golden, series):
    """The official method on recorded losses: which rates it tries, where it stops, what it suggests."""
    file = np.load(golden / "lr_finder.npz")
    losses, seen = iter(file[f"{series}_raw_losses"].tolist()), []
    curve = find_released_rate(lambda rate: seen.append(rate) or next(losses))
    np.testing.assert_allclose(seen, file[f"{series}_lrs"], rtol=1e-12)
    assert len(seen) == file[f"{series}_num_recorded"]
    assert curve.chosen == pytest.approx(float(file[f"{series}_suggested_lr"]), rel=1e-12)
    smoothed = file[f"{series}_smoothed"]
    if len(smoothed):
        np.testing.assert_allclose(curve.losses, smoothed[np.isfinite(smoothed)], rtol=1e-12)


def test_clipping_scopes():
    def fresh():
        parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
        parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.4])
        return parameters

    alone = fresh()
    clip_gradients(alone, most=1.0, scope="tensor")
    assert alone[0].grad.norm().item() == pytest.approx(1, rel=1e-4)
    assert alone[1].grad.norm().item() == pytest.approx(0.5, rel=1e-4)
    together = fresh()
    clip_gradients(together, most=1.0, scope="global")
    norms = [parameter.grad.norm().item() for parameter in together]
    assert math.hypot(*norms) == pytest.approx(1, rel=1e-4)
    assert norms[0] / norms[1] == pytest.approx(10, rel=1e-4)


def test_finder_walks_the_rates_and_smooths():
    seen = []
    curve = find_rate(lambda rate: seen.append(rate) or 1.0 / len(seen), least=1e-6)
    assert len(seen) == 100
    assert seen[0] == pytest.approx(1e-7)
    assert seen[-1] == pytest.approx(10)
    assert seen[1] / seen[0] == pytest.approx(1e8 ** (1 / 99))
    assert curve.losses[0] == 1
    assert curve.losses[1] == pytest.approx(0.05 * 0.5 + 0.95 * 1)


def test_finder_chooses_the_steepest_fall_divided_by_five():
    rates = [10.0**power for power in range(-5, 1)]
    assert choose_rate(rates, [5, 4.9, 3, 1, 0.9, 9], least=1e-6).chosen == pytest.approx(1e-3 / 5)
    for least in (1e-6, 1e-3):
        curve = choose_rate([rate * 1e-4 for rate in rates], [5, 1, 0.5, 0.4, 0.3, 9], least=least)
        assert curve.chosen == least
        assert "below the least" in curve.note
    # A steeper fall after the minimum does not count.
    assert choose_rate(rates, [5, 4, 1, 9, 99, 2], least=1e-6).chosen == pytest.approx(1e-4 / 5)


@pytest.mark.parametrize("losses", [[], [1.0], [1.0, 2.0, 3.0], [1.0, 1.0, 1.0]])
def test_finder_falls_back_and_says_so(losses):
    curve = choose_rate([10.0**power for power in range(len(losses))], losses, least=1e-6)
    assert curve.chosen == 1e-3
    assert "never fell" in curve.note


def test_finder_stops_at_five_times_the_best_and_at_nan():
    steps = iter([1.0] * 10 + [1e4] * 90)
    curve = find_rate(lambda rate: next(steps), least=1e-6)
    assert len(curve.losses) == 11
    steps = iter([1.0] * 10 + [math.nan] * 90)
    assert len(find_rate(lambda rate: next(steps), least=1e-6).losses) == 10
