"""Pixel accuracy of label maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from structure.pipeline.metrics.answers import SegmentationAnswers
from structure.pipeline.metrics.metric import SampleStatistic
from structure.pipeline.metrics.ratios import ratio


class PixelAccuracy(SampleStatistic[SegmentationAnswers]):
    """Share of the pixels of all images together whose class is correct; bootstrap over images. Chance: a uniform
    guess among K classes, 1/K."""

    task = "segmentation"
    notation = "pixel accuracy"
    meaning = "share of the pixels whose class is correct"
    is_default = True
    columns = ("correct", "pixels")

    def statistic(self, answers: SegmentationAnswers) -> Callable[[np.ndarray], np.ndarray]:
        correct, pixels = answers.column("correct"), answers.column("pixels")
        return lambda counts: ratio(counts @ correct, counts @ pixels)

    def chance(self, answers: SegmentationAnswers) -> float:
        return 1 / int(answers.counted.true.shape[1])
