"""What SOTAlign's teacher and students are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from structure.pipeline.aligners.option_groups import BatchOptions
from structure.pipeline.aligners.options import Idle, option

RATE = 3e-4
"""Of Lion; 1e-4 as published."""


@dataclass(frozen=True, kw_only=True)
class SotalignOptions(BatchOptions):
    """Of teacher and students. As published, the students learn a few pairs by heart: on 100 of 7,447 icons R@10 falls
    below the teacher's (docs/few-pairs.md), and the defaults keep closer to it."""

    batch: int = option(512, "Unpaired rows of each side in a step, and pairs at most; 4,096 as published.", above=0)
    dim: int = option(1024, "Width of the shared space, at most.", above=0)
    ridge: float = option(0.1, "Added to both covariances of the teacher's rows, which have unit length.", least=0)
    loss: Literal["sigmoid", "info_nce"] = option("sigmoid", "The loss of the pairs.")
    scale: float = option(20.0, "Of the loss at the start; it is learnt.", above=0)
    bias: float = option(-10.0, "Of the sigmoid loss at the start; it is learnt.", least=-1000, most=1000)
    alpha: float = option(1.0, "Weight of KLOT; 1e-4 as published.", least=0)
    epsilon_student: float = option(0.05, "Temperature of the students' transport plan.", above=0)
    epsilon_teacher: float = option(0.01, "Temperature of the teacher's transport plan.", above=0)
    iterations: int = option(100, "Of Sinkhorn, for each plan.", above=0)
    steps: int = option(100, "Of training; 2,000 as published.", above=0)
    learning_rate: float | None = option(None, "Of Lion, falling to 0 as a cosine; none: 3e-4.", above=0)
    weight_decay: float = option(1e-5, "Of Lion.", least=0)

    @property
    def rate(self) -> float:
        """The learning rate at the start."""
        return RATE if self.learning_rate is None else self.learning_rate

    @property
    def idle(self) -> Idle:
        return super().idle | ({} if self.loss == "sigmoid" else {"bias": ("loss", "sigmoid")})
