"""SOTAlign's students: linear maps that start at the teacher, under the loss of the pairs and KLOT of unpaired batches.

arXiv 2602.23353, as third parties re-implemented it: the authors released KLOT alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from structure.pipeline.aligners.few_pairs.lion import Lion
from structure.pipeline.aligners.few_pairs.sotalign_options import SotalignOptions
from structure.pipeline.aligners.few_pairs.unpaired_sides import UnpairedSides
from structure.pipeline.aligners.few_pairs.vec2vec import some
from structure.pipeline.aligners.losses.contrastive import info_nce, sigmoid_loss
from structure.pipeline.aligners.losses.klot import klot_of_rows
from structure.pipeline.aligners.schedule import cosine
from structure.pipeline.progress import Listener, Progress
from structure.store.errors import StructureError

Maps = tuple[torch.Tensor, torch.Tensor]


@dataclass
class Students:
    """Both maps (dx, dim) and (dy, dim) float32, and the logarithm of the scale and the bias of the sigmoid loss."""

    of_x: torch.Tensor
    of_y: torch.Tensor
    log_scale: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def at(cls, teacher: Maps, options: SotalignOptions) -> Students:
        """The students before their first step."""
        device = teacher[0].device
        values = [torch.tensor(math.log(options.scale), device=device), torch.tensor(options.bias, device=device)]
        return cls(*(each.clone().requires_grad_() for each in (*teacher, *values)))

    @property
    def moving(self) -> list[torch.Tensor]:
        """What is trained."""
        return [self.of_x, self.of_y, self.log_scale, self.bias]

    def pair_loss(self, x: torch.Tensor, y: torch.Tensor, options: SotalignOptions) -> torch.Tensor:
        """The loss of paired rows, 0-d."""
        images, texts, scale = x @ self.of_x, y @ self.of_y, self.log_scale.exp()
        if options.loss == "info_nce":
            return info_nce(images, texts, temperature=1 / scale)
        return sigmoid_loss(images, texts, scale=scale, bias=self.bias)


def train_students(
    sides: UnpairedSides, teacher: Maps, options: SotalignOptions, on_event: Listener
) -> tuple[Maps, dict[str, float]]:
    """Both maps float32, and the parts of the loss in the last step. The same seed gives the same maps.

    Raises StructureError for a loss that is not finite.
    """
    teacher = (teacher[0].float(), teacher[1].float())
    students = Students.at(teacher, options)
    optimiser = Lion(students.moving, rate=options.rate, weight_decay=options.weight_decay)
    random = np.random.default_rng(options.seed)
    parts: dict[str, float] = {}
    for step in range(options.steps):
        chosen = some(len(sides.pairs_x), options.batch, random, sides.x.device)
        of_pairs = students.pair_loss(sides.pairs_x[chosen], sides.pairs_y[chosen], options)
        x, y = (side[some(len(side), options.batch, random, side.device)] for side in (sides.x, sides.y))
        of_plans = klot_of_rows(
            (x @ students.of_x, y @ students.of_y),
            (x @ teacher[0], y @ teacher[1]),
            epsilon_student=options.epsilon_student,
            epsilon_teacher=options.epsilon_teacher,
            iterations=options.iterations,
        )
        loss = of_pairs + options.alpha * of_plans
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.rate = options.rate * cosine(step, period=options.steps)
        optimiser.step()
        parts = {"loss": float(loss.detach()), "pair_loss": float(of_pairs.detach()), "klot": float(of_plans.detach())}
        if not math.isfinite(parts["loss"]):
            raise StructureError(
                f"Training diverged in step {step + 1}: the loss is {parts['loss']} at learning rate "
                f"{options.rate:g}. Pass a smaller --lr."
            )
        on_event(Progress("training sotalign", step + 1, options.steps, "steps", parts))
    return (students.of_x.detach(), students.of_y.detach()), parts
