"""The metrics of linear probes: those of classification, and accuracy after k samples a class."""

from __future__ import annotations

import numpy as np

from structure.pipeline.metrics.answers import Answers, ClassAnswers
from structure.pipeline.metrics.classification.accuracy import Top1Accuracy, Top5Accuracy
from structure.pipeline.metrics.classification.mean_per_class_recall import MeanPerClassRecall


class ProbeTop1Accuracy(Top1Accuracy):
    """Top-1 accuracy of a probe that is trained on the whole training split."""

    task = "linear_probe"
    notation = "linear probe top-1 accuracy"
    meaning = "top-1 accuracy of a linear probe, which is trained on labels"


class ProbeTop5Accuracy(Top5Accuracy):
    """Top-5 accuracy of a probe that is trained on the whole training split."""

    task = "linear_probe"
    notation = "linear probe top-5 accuracy"
    meaning = "top-5 accuracy of a linear probe, which is trained on labels"


class ProbeMeanPerClassRecall(MeanPerClassRecall):
    """Mean per-class recall of a probe that is trained on the whole training split."""

    task = "linear_probe"
    notation = "linear probe mean per-class recall"
    meaning = "recall of a linear probe in each class, averaged over the classes"


class FewShotAccuracy(Top1Accuracy):
    """Top-1 accuracy of probes trained on k samples a class, each sample's mean over several draws of them."""

    task = "linear_probe"
    notation = "linear probe top-1 accuracy@k"
    meaning = "top-1 accuracy of a linear probe that is trained on k samples a class, mean over several draws of them"

    def holds(self, answers: Answers) -> bool:
        return f"hits@{self.k}" in answers.table.column_names

    def values(self, answers: ClassAnswers) -> np.ndarray:
        return answers.column(f"hits@{self.k}")
