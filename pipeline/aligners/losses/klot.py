"""KLOT: the divergence between the transport plans that a teacher's and a student's similarities make of two sets.

Rows of the two sets need not be paired: the plans say which could be. Source: SOTAlign, arXiv 2602.23353; equal to the
released `klot.py` (ExplainableML/SOTAlign@4a810a1) within 1e-10 in float64.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

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
    _require_plans(epsilon_student, epsilon_teacher, iterations)
    dtype = computing_dtype(ours, theirs)
    with torch.autocast(ours.device.type, enabled=False):
        value: torch.Tensor = _Klot.apply(
            ours.to(dtype), theirs.detach().to(ours.device, dtype), epsilon_student, epsilon_teacher, iterations
        )
    return value


def klot_of_rows(
    student: tuple[torch.Tensor, torch.Tensor],
    teacher: tuple[torch.Tensor, torch.Tensor],
    *,
    epsilon_student: float = 0.05,
    epsilon_teacher: float = 0.005,
    iterations: int = 100,
) -> torch.Tensor:
    """`klot` of the cosines between two sets of rows, a 0-d tensor: `student` (n, d) and (m, d), `teacher` (n, e) and
    (m, e), all of one float dtype, raw. Differentiable in the student's rows.

    The gradient is made tile by tile in the forward pass: three matrices (n, m) are held on the way, and none is kept.
    Raises ValueError as `klot` does.
    """
    counts = [tuple(map(len, sides)) for sides in (student, teacher)]
    if counts[0] != counts[1] or min(counts[0]) < 1:
        raise ValueError(f"student and teacher must embed the same rows: {counts[0]} and {counts[1]}")
    _require_plans(epsilon_student, epsilon_teacher, iterations)
    with torch.autocast(student[0].device.type, enabled=False):
        ours = [F.normalize(side, dim=1) for side in student]
        theirs = (F.normalize(teacher[0].detach(), dim=1), F.normalize(teacher[1].detach(), dim=1))
        value: torch.Tensor = _KlotOfRows.apply(*ours, theirs, (epsilon_student, epsilon_teacher), iterations)
    return value


def _require_plans(epsilon_student: float, epsilon_teacher: float, iterations: int) -> None:
    if min(epsilon_student, epsilon_teacher) <= 0 or iterations < 1:
        raise ValueError(
            f"epsilons {epsilon_student:g}, {epsilon_teacher:g} must be above 0, and iterations {iterations} 1 or more"
        )


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


class _KlotOfRows(torch.autograd.Function):
    """With G = (P_s - P_t) / epsilon the gradients are G b for the first unit rows a of the student, G^T a for the
    second ones b."""

    @staticmethod
    def forward(
        ctx: Any,
        a: torch.Tensor,
        b: torch.Tensor,
        teacher: tuple[torch.Tensor, torch.Tensor],
        epsilons: tuple[float, float],
        iterations: int,
    ) -> torch.Tensor:
        epsilon, of_teacher = epsilons
        target = teacher[0] @ teacher[1].T
        buffer = torch.empty_like(target)
        u, v = potentials(target, epsilon=of_teacher, iterations=iterations, buffer=buffer)
        write_plan(target, u, v, scale=1 / of_teacher, out=target)
        student = a @ b.T
        u, v = potentials(student, epsilon=epsilon, iterations=iterations, buffer=buffer)
        value = a.new_zeros((), dtype=torch.float64)
        of_a, of_b = torch.empty_like(a), torch.zeros_like(b)
        for rows in tiles(*student.shape):
            logs = student[rows].div_(epsilon).add_(u[rows, None]).add_(v)
            plan = target[rows]
            # Where an entry of the plan is 0 in this dtype it has no part in the sum.
            value += (torch.xlogy(plan, plan) - plan * logs).sum(dtype=torch.float64)
            pull = logs.exp_().sub_(plan).div_(epsilon)
            of_a[rows] = pull @ b
            of_b.addmm_(pull.T, a[rows])
        ctx.save_for_backward(of_a, of_b)
        return value.to(a.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *of_value: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        of_a, of_b = ctx.saved_tensors
        return of_a * of_value[0], of_b * of_value[0], None, None, None
