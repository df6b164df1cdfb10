"""Mean intersection over union."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from structure.pipeline.metrics.answers import SegmentationAnswers
from structure.pipeline.metrics.metric import SampleStatistic
from structure.pipeline.metrics.ratios import mean_over_known, ratio


class MeanIou(SampleStatistic[SegmentationAnswers]):
    """mIoU of all images together (one confusion), over the classes in truth or prediction; bootstrap over images.

    Chance: a uniform guess for every pixel among K classes. A class with share p of the pixels: TP = p/K,
    union = p + 1/K - p/K, so IoU = p / (K p + 1 - p); 0 where p is 0, since the guess names it all the same.
    """

    task = "segmentation"
    notation = "mIoU"
    meaning = "intersection over union of true and predicted pixels, averaged over the classes"
    is_default = True
    columns = ("intersection", "union")

    def statistic(self, answers: SegmentationAnswers) -> Callable[[np.ndarray], np.ndarray]:
        intersection, union = answers.in_the_mean("intersection"), answers.in_the_mean("union")
        return lambda counts: mean_over_known(ratio(counts @ intersection, counts @ union))

    def chance(self, answers: SegmentationAnswers) -> float:
        share = answers.counted.true.sum(axis=0) / answers.counted.true.sum()
        return float(np.delete(expected_iou(share), list(answers.without)).mean())


def expected_iou(share: np.ndarray) -> np.ndarray:
    """(K,) expected IoU of a uniform guess, given the classes' shares of the pixels; exact for many pixels."""
    return np.asarray(share / (len(share) * share + 1 - share))
