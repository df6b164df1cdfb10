"""Mean intersection over union."""

from __future__ import annotations

import numpy as np

from structure.pipeline.metrics.answers import SegmentationAnswers
from structure.pipeline.metrics.intervals import Interval, statistic_interval
from structure.pipeline.metrics.metric import SampleMean


class MeanIou(SampleMean[SegmentationAnswers]):
    """mIoU of all images together, over the classes in truth or prediction; bootstrap over images. A difference of two
    aligners is the mean over images of the difference of each image's own mIoU.

    Chance: a uniform guess for every pixel among K classes. A class with share p of the pixels: TP = p/K,
    union = p + 1/K - p/K, so IoU = p / (K p + 1 - p); 0 where p is 0, since the guess names it all the same.
    """

    task = "segmentation"
    notation = "mIoU"
    meaning = "intersection over union of true and predicted pixels, averaged over the classes"
    is_default = True
    columns = ("miou",)

    def values(self, answers: SegmentationAnswers) -> np.ndarray:
        return answers.column("miou")

    def interval(self, answers: SegmentationAnswers, *, seed: int = 0) -> Interval:
        areas, without = answers.counted, answers.without
        return statistic_interval(lambda counts: areas.miou(counts, without=without), n=answers.units, seed=seed)

    def chance(self, answers: SegmentationAnswers) -> float:
        share = answers.counted.true.sum(axis=0) / answers.counted.true.sum()
        return float(np.delete(expected_iou(share), list(answers.without)).mean())


def expected_iou(share: np.ndarray) -> np.ndarray:
    """(K,) expected IoU of a uniform guess, given the classes' shares of the pixels; exact for many pixels."""
    return np.asarray(share / (len(share) * share + 1 - share))
