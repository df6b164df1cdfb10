"""Pixel accuracy of label maps."""

from __future__ import annotations

import numpy as np

from structure.pipeline.metrics.answers import SegmentationAnswers
from structure.pipeline.metrics.intervals import Interval, statistic_interval
from structure.pipeline.metrics.metric import SampleMean


class PixelAccuracy(SampleMean[SegmentationAnswers]):
    """Share of the pixels of all images together whose class is correct; bootstrap over images. A difference of two
    aligners is the mean over images. Chance: a uniform guess among K classes, 1/K."""

    task = "segmentation"
    notation = "pixel accuracy"
    meaning = "share of the pixels whose class is correct"
    is_default = True
    columns = ("pixel_accuracy",)

    def values(self, answers: SegmentationAnswers) -> np.ndarray:
        return answers.column("pixel_accuracy")

    def interval(self, answers: SegmentationAnswers, *, seed: int = 0) -> Interval:
        return statistic_interval(answers.counted.pixel_accuracies, n=answers.units, seed=seed)

    def chance(self, answers: SegmentationAnswers) -> float:
        return 1 / int(answers.counted.true.shape[1])
