"""KLOT against the golden values of its released code, and against the iterations written plainly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from structure.pipeline import klot
from structure.pipeline.aligners.losses import sinkhorn
from structure.pipeline.aligners.losses.sinkhorn import potentials, write_plan

CASES = [("n5_etp005", 0.005), ("n5_etp01", 0.01), ("n64_etp005", 0.005), ("n64_etp01", 0.01)]


@pytest.mark.parametrize(("case", "epsilon"), CASES)
def test_golden(golden: Path, case: str, epsilon: float) -> None:
    file = np.load(golden / "klot.npz")
    student = torch.from_numpy(file[f"{case}_K_student"]).requires_grad_()
    teacher = torch.from_numpy(file[f"{case}_K_teacher"]).requires_grad_()
    value = klot(student, teacher, epsilon_teacher=epsilon)
    value.backward()
    assert value.item() == pytest.approx(float(file[f"{case}_value"]), rel=1e-10, abs=1e-12)
    assert student.grad is not None
    np.testing.assert_allclose(student.grad, file[f"{case}_grad_student"], rtol=1e-10, atol=1e-11)
    assert teacher.grad is None
    for side, temperature in (("student", 0.05), ("teacher", epsilon)):
        similarities = torch.from_numpy(file[f"{case}_K_{side}"])
        u, v = potentials(similarities, epsilon=temperature, iterations=100)
        plan = write_plan(similarities, u, v, scale=1 / temperature, out=torch.empty_like(similarities))
        np.testing.assert_allclose(plan, file[f"{case}_P_{side}"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("case", "epsilon"), CASES)
def test_golden_in_float32(golden: Path, case: str, epsilon: float) -> None:
    file = np.load(golden / "klot.npz")
    student = torch.from_numpy(file[f"{case}_K_student"]).float().requires_grad_()
    value = klot(student, file[f"{case}_K_teacher"].astype(np.float32), epsilon_teacher=epsilon)
    value.backward()
    assert value.item() == pytest.approx(float(file[f"{case}_value"]), rel=1e-5, abs=5e-5)
    assert student.grad is not None
    np.testing.assert_allclose(student.grad, file[f"{case}_grad_student"], rtol=0, atol=1e-4)


def plain(similarities: torch.Tensor, epsilon: float, iterations: int) -> torch.Tensor:
    """The logarithm of the plan, by log-sum-exp alone."""
    logs = similarities / epsilon
    log_a, log_b = -np.log(logs.shape[0]), -np.log(logs.shape[1])
    v = logs.new_zeros(logs.shape[1])
    for _ in range(iterations):
        u = log_a - torch.logsumexp(logs + v, 1)
        v = log_b - torch.logsumexp(logs + u[:, None], 0)
    u = (u + log_a - torch.logsumexp(logs + v, 1)) / 2
    return logs + u[:, None] + v


@pytest.mark.parametrize("iterations", [1, 2, 3, 60])
@pytest.mark.parametrize("shape", [(40, 40), (17, 33)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_give_what_log_sum_exp_gives(
    iterations: int, shape: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under temperatures so low that the plan underflows, and where it must be made again at once."""
    generator = torch.Generator().manual_seed(iterations)
    similarities = torch.rand(shape, generator=generator, dtype=dtype) * 2 - 1
    similarities[:, 3] -= 1.5  # a column that nothing is close to: its sum underflows in float32
    monkeypatch.setattr(sinkhorn, "TILE", 100)
    for far in (12.0, 1e-3):
        monkeypatch.setattr(sinkhorn, "FAR", far)
        for epsilon in (0.5, 0.05, 0.004):
            u, v = potentials(similarities, epsilon=epsilon, iterations=iterations)
            found = similarities / epsilon + u[:, None] + v
            expected = plain(similarities, epsilon, iterations)
            tight = 1e-9 if dtype == torch.float64 else 1e-3  # logs of up to 600, in float32
            torch.testing.assert_close(found, expected, rtol=0, atol=tight)


def test_what_makes_no_plan_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\), \(3, 3\)"):
        klot(torch.zeros(2, 3), torch.zeros(3, 3))
    with pytest.raises(ValueError, match="iterations 0"):
        klot(torch.zeros(3, 3), torch.zeros(3, 3), iterations=0)
