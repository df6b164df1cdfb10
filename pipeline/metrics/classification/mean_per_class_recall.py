"""Balanced accuracy: recall of each class, averaged over the classes that occur."""

from __future__ import annotations

import numpy as np

from structure.pipeline.metrics.answers import ClassAnswers
from structure.pipeline.metrics.metric import SampleMean


class MeanPerClassRecall(SampleMean[ClassAnswers]):
    """Mean over the classes that occur of the share of their samples that are right; bootstrap over these classes.
    Chance: a uniform guess among C, 1/C."""

    task = "zeroshot_classification"
    notation = "mean per-class recall"
    meaning = "share of correct answers in each class, averaged over the classes; n counts classes"
    is_default = True
    columns = ("label_index", "rank")

    def values(self, answers: ClassAnswers) -> np.ndarray:
        labels, member = np.unique(answers.column("label_index"), return_inverse=True)
        correct = np.bincount(member, weights=answers.column("rank") == 0, minlength=len(labels))
        return np.asarray(correct / np.bincount(member))

    def resampled(self, answers: ClassAnswers) -> None:
        """Classes are drawn one by one, whatever groups their samples are in."""

    def chance(self, answers: ClassAnswers) -> float:
        return 1 / answers.classes
