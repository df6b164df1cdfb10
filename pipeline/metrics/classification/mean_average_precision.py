"""Mean average precision of samples with several classes each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from structure.pipeline.metrics.answers import MultilabelAnswers
from structure.pipeline.metrics.chance import expected_precision
from structure.pipeline.metrics.metric import SampleStatistic
from structure.pipeline.metrics.ranked_precision import ranked_precisions


class MeanAveragePrecision(SampleStatistic[MultilabelAnswers]):
    """Mean over all classes of the average precision; one without positives counts 0, as in CLIP_benchmark. Bootstrap
    over samples. Chance: a random order of the samples."""

    task = "zeroshot_classification"
    notation = "mAP"
    meaning = "average precision of each class, averaged over the classes; n counts samples"
    is_default = True
    columns = ("labels", "scores")
    needs_multilabel = True

    def statistic(self, answers: MultilabelAnswers) -> Callable[[np.ndarray], np.ndarray]:
        scores, targets = answers.scores, answers.targets
        return lambda counts: np.asarray(ranked_precisions(scores, targets, counts).mean(axis=1))

    def chance(self, answers: MultilabelAnswers) -> float:
        positives = answers.targets.astype(bool).sum(axis=0).astype(np.float64)
        return expected_precision(positives, len(answers.targets))
