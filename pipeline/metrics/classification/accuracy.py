"""Top-1 and top-5 accuracy of zero-shot classification."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from structure.pipeline.metrics.answers import ClassAnswers
from structure.pipeline.metrics.metric import SampleMean


class Top1Accuracy(SampleMean[ClassAnswers]):
    """Share of the samples whose true class is best; bootstrap over samples. Chance: a uniform guess among C, 1/C."""

    task = "zeroshot_classification"
    notation = "top-1 accuracy"
    meaning = "share of the samples whose true class has the largest score"
    is_default = True
    columns = ("rank",)
    best: ClassVar[int] = 1

    def is_defined(self, answers: ClassAnswers) -> bool:
        return answers.classes >= self.best

    def values(self, answers: ClassAnswers) -> np.ndarray:
        return np.asarray(answers.column("rank") < self.best)

    def chance(self, answers: ClassAnswers) -> float:
        return self.best / answers.classes


class Top5Accuracy(Top1Accuracy):
    """The same among the five best; undefined below five classes."""

    notation = "top-5 accuracy"
    meaning = "share of the samples whose true class is among the five largest scores"
    best = 5
