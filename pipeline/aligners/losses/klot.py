"""KLOT: the divergence between the transport plans that a teacher's and a student's similarities make of two sets.

Rows of the two sets need not be paired: the plans say which could be. Source: SOTAlign, arXiv 2602.23353; equal to the
released `klot.py` (ExplainableML/SOTAlign@4a810a1) within 1e-10 in float64.
"""

from __future__ import annotations

from typing import Any

import torch

from structure.pipeline.aligners.arrays import Array, as_tensor, computing_dtype
from structure.pipeline.aligners.losses.sinkhorn import potentials, tiles, write_plan


def klot(
    student: Array,
    teacher: Array,
    *,
    epsilon_student: float = 0.05,
    epsilon_teacher: float = 0.005,
    iterations: int = 100,
) -> torch.Tensor:
    """KL(P_teacher || P_student) = sum P_t (log P_t - log P_s), a 0-d tensor, of similarities (n, m), larger is closer.

    The plans are those of `sinkhorn.potentials`; their mass is slightly below 1 and is not corrected. The gradient for
    `student` is the closed form (P_s - P_t) / epsilon_student, not the one through the iterations; none flows to
    `teacher`. Besides both inputs two matrices (n, m) are held, of which one is kept for the gradient. Raises
    ValueError for shapes that differ, and for an epsilon or a number of iterations that is not positive.
    """
    ours, theirs = as_tensor(student), as_tensor(teacher)
    if ours.ndim != 2 or ours.shape != theirs.shape or not ours.numel():
        raise ValueError(f"similarities must have one shape (n, m): {tuple(ours.shape)}, {tuple(theirs.shape)}")
    if min(epsilon_student, epsilon_teacher) <= 0 or iterations < 1:
        raise ValueError(
            f"epsilons {epsilon_student:g}, {epsilon_teacher:g} must be above 0, and iterations {iterations} 1 or more"
        )
    dtype = computing_dtype(ours, theirs)
    with torch.autocast(ours.device.type, enabled=False):
        value: torch.Tensor = _Klot.apply(
            ours.to(dtype), theirs.detach().to(ours.device, dtype), epsilon_student, epsilon_teacher, iterations
        )
    return value


class _Klot(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: torch.Tensor, teacher: torch.Tensor, epsilon: float, of_teacher: float, iterations: int
    ) -> torch.Tensor:
        ours = torch.empty_like(student)
        theirs = torch.empty_like(student)
        u_t, v_t = potentials(teacher, epsilon=of_teacher, iterations=iterations, buffer=theirs)
        u_s, v_s = potentials(student, epsilon=epsilon, iterations=iterations, buffer=ours)
        write_plan(teacher, u_t, v_t, scale=1 / of_teacher, out=theirs)
        value = student.new_zeros((), dtype=torch.float64)
        for rows in tiles(*student.shape):
            apart = teacher[rows] / of_teacher + u_t[rows, None] + v_t
            apart -= student[rows] / epsilon + u_s[rows, None] + v_s
            value += (theirs[rows] * apart).sum(dtype=torch.float64)
        if ctx.needs_input_grad[0]:
            write_plan(student, u_s, v_s, scale=1 / epsilon, out=ours)
            ctx.save_for_backward(ours.sub_(theirs).div_(epsilon))
        return value.to(student.dtype)

    @staticmethod
    def backward(ctx: Any, *of_value: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * of_value[0], None, None, None, None
