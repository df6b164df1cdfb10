"""The evaluation metrics by name. To add one: a file with a class like those in the folders here, and a line below."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from structure.pipeline.registry import Registry
from structure.store.errors import unknown

if TYPE_CHECKING:
    from structure.pipeline.metrics.metric import AnyMetric

_HOME = "structure.pipeline.metrics"
METRICS: Registry[type[AnyMetric]] = Registry(
    "evaluation metric",
    "structure.metrics",
    {
        "acc1": f"{_HOME}.classification.accuracy:Top1Accuracy",
        "acc5": f"{_HOME}.classification.accuracy:Top5Accuracy",
        "mean_per_class_recall": f"{_HOME}.classification.mean_per_class_recall:MeanPerClassRecall",
        "mean_average_precision": f"{_HOME}.classification.mean_average_precision:MeanAveragePrecision",
        "auroc": f"{_HOME}.classification.auroc:MacroAuroc",
        "image_retrieval_recall@k": f"{_HOME}.retrieval.recall:ImageRetrievalRecall",
        "text_retrieval_recall@k": f"{_HOME}.retrieval.recall:TextRetrievalRecall",
        "image_retrieval_map": f"{_HOME}.retrieval.mean_average_precision:ImageRetrievalMap",
        "text_retrieval_map": f"{_HOME}.retrieval.mean_average_precision:TextRetrievalMap",
        "image_retrieval_median_rank": f"{_HOME}.retrieval.median_rank:ImageRetrievalMedianRank",
        "text_retrieval_median_rank": f"{_HOME}.retrieval.median_rank:TextRetrievalMedianRank",
        "image_retrieval_foscttm": f"{_HOME}.retrieval.foscttm:ImageRetrievalFoscttm",
        "text_retrieval_foscttm": f"{_HOME}.retrieval.foscttm:TextRetrievalFoscttm",
        "image_acc": f"{_HOME}.selection.accuracy:ImageAccuracy",
        "text_acc": f"{_HOME}.selection.accuracy:TextAccuracy",
        "acc": f"{_HOME}.selection.accuracy:GroupAccuracy",
        "lp_acc1": f"{_HOME}.classification.probe:ProbeTop1Accuracy",
        "lp_acc5": f"{_HOME}.classification.probe:ProbeTop5Accuracy",
        "lp_mean_per_class_recall": f"{_HOME}.classification.probe:ProbeMeanPerClassRecall",
        "lp_acc1@k": f"{_HOME}.classification.probe:FewShotAccuracy",
        "miou": f"{_HOME}.segmentation.mean_iou:MeanIou",
        "pixel_accuracy": f"{_HOME}.segmentation.pixel_accuracy:PixelAccuracy",
    },
)
"""Name to class; `@k` stands for a whole number from 1."""


def pattern_of(name: str) -> tuple[str, int | None]:
    """The registered name of a metric and its number: ("image_retrieval_recall@k", 5). Imports no metric."""
    number = re.search(r"@([1-9]\d*)$", name)
    return (name, None) if number is None else (f"{name[: number.start()]}@k", int(number[1]))


def metric_named(name: str) -> AnyMetric:
    """The metric that results call `name`. Raises StructureError with the nearest names."""
    pattern, k = pattern_of(name)
    if pattern not in METRICS or ("@k" in pattern) != (k is not None):
        raise unknown("evaluation metric", name, list(METRICS))
    return METRICS[pattern](name, k)


def title_of(name: str) -> str:
    """How reports show a metric (`T→I R@5`); its name where no installed package has it."""
    pattern, k = pattern_of(name)
    return METRICS[pattern](name, k).title if pattern in METRICS else name


def metrics_of(task: str, numbers: Sequence[int] = ()) -> Iterator[AnyMetric]:
    """Every metric of a kind of task, those with `@k` once for each of `numbers`, number by number."""
    names = [name for name in METRICS if METRICS[name].task == task]
    for numbered, group in groupby(names, key=lambda name: name.endswith("@k")):
        members = list(group)
        for k in numbers if numbered else (None,):
            yield from (METRICS[name](name if k is None else name[:-1] + str(k), k) for name in members)


def evaluated_metrics(task: str, numbers: Sequence[int] = (), *, named: str = "") -> tuple[AnyMetric, ...]:
    """The metrics that an evaluation of a task computes: the default ones, and the one that the suite names."""
    metrics = [metric for metric in metrics_of(task, numbers) if metric.is_default or metric.name == named]
    return tuple(metrics)
