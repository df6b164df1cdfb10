"""Area under the ROC curve of samples with several classes each: the mean over classes, and each class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from structure.pipeline.metrics.answers import MultilabelAnswers
from structure.pipeline.metrics.intervals import statistic_interval
from structure.pipeline.metrics.metric import SampleStatistic
from structure.pipeline.metrics.roc_areas import roc_areas


class MacroAuroc(SampleStatistic[MultilabelAnswers]):
    """Mean AUROC over the classes that have positives and negatives. Bootstrap over samples; a class that a resample
    leaves without either is left out of its mean. Chance: .5, whatever the shares of the classes."""

    task = "zeroshot_classification"
    notation = "AUROC"
    meaning = "probability that a sample of a class scores above one without it, averaged over the classes"
    is_default = True
    columns = ("labels", "scores")
    needs_multilabel = True

    def is_defined(self, answers: MultilabelAnswers) -> bool:
        present = answers.targets.sum(axis=0)
        return bool(((present > 0) & (present < len(answers.targets))).any())

    def statistic(self, answers: MultilabelAnswers) -> Callable[[np.ndarray], np.ndarray]:
        scores, targets = answers.scores, answers.targets
        return lambda counts: mean_of_known(roc_areas(scores, targets, counts))

    def chance(self, answers: MultilabelAnswers) -> float:
        return 0.5


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """(rows,) means of (rows, classes) without NaN; NaN where a row has nothing else."""
    known = ~np.isnan(values)
    counts = known.sum(axis=1)
    sums = np.where(known, values, 0.0).sum(axis=1)
    return np.asarray(np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0))


def auroc_by_class(answers: MultilabelAnswers, classes: list[str], *, seed: int = 0) -> pa.Table:
    """A row a class: `class`, `positives`, `auroc` with its 95 % interval `low` to `high` by the bootstrap over
    samples; null where a class has no positives or no negatives."""
    scores, targets = answers.scores, answers.targets
    rows = []
    for column, name in enumerate(classes):
        one, truth = scores[:, [column]], targets[:, [column]]

        def area(counts: np.ndarray, one: np.ndarray = one, truth: np.ndarray = truth) -> np.ndarray:
            return roc_areas(one, truth, counts)[:, 0]

        found = statistic_interval(area, n=len(scores), seed=seed)
        numbers = {"auroc": found.value, "low": found.low, "high": found.high}
        known = {key: None if np.isnan(number) else number for key, number in numbers.items()}
        rows.append({"class": name, "positives": int(truth.sum()), **known})
    schema = {"class": pa.string(), "positives": pa.int64(), "auroc": pa.float64()}
    return pa.Table.from_pylist(rows, pa.schema({**schema, "low": pa.float64(), "high": pa.float64()}))
