"""Image, text and group accuracy within small groups (Winoground, SugarCrepe)."""

from __future__ import annotations

import math

import numpy as np

from structure.pipeline.metrics.answers import SelectionAnswers
from structure.pipeline.metrics.metric import SampleMean


class GroupAccuracy(SampleMean[SelectionAnswers]):
    """Share of the groups in which both directions are correct; bootstrap over groups.

    The first g = min(images, captions) of a group belong together. Under random scores every caption finds its image
    with 1/images, every image its caption with 1/captions. Both at once: their product where g = 1, and 1/6 for two
    and two (the two correct scores of four must be the highest); None where a group has another shape.
    """

    task = "image_caption_selection"
    notation = "group accuracy"
    meaning = "share of the groups in which text accuracy and image accuracy both hold"
    is_default = True
    columns = ("acc",)

    def values(self, answers: SelectionAnswers) -> np.ndarray:
        return answers.column(self.columns[0])

    def chance(self, answers: SelectionAnswers) -> float | None:
        images, captions, pairs = _sizes(answers)
        single = (1.0 / images) ** pairs * (1.0 / captions) ** pairs
        both = np.where(pairs == 1, single, np.where((images == 2) & (captions == 2), 1 / 6, np.nan))
        expected = float(both.mean())
        return None if math.isnan(expected) else expected


class ImageAccuracy(GroupAccuracy):
    """Share of the groups in which every caption is nearest to its own image."""

    notation = "image accuracy"
    meaning = "share of the groups in which every caption is nearest to its own image"
    columns = ("image_acc",)

    def chance(self, answers: SelectionAnswers) -> float:
        images, _, pairs = _sizes(answers)
        return float(((1.0 / images) ** pairs).mean())


class TextAccuracy(GroupAccuracy):
    """Share of the groups in which every image is nearest to its own caption."""

    notation = "text accuracy"
    meaning = "share of the groups in which every image is nearest to its own caption"
    columns = ("text_acc",)

    def chance(self, answers: SelectionAnswers) -> float:
        _, captions, pairs = _sizes(answers)
        return float(((1.0 / captions) ** pairs).mean())


def _sizes(answers: SelectionAnswers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, captions and pairs of every group."""
    assert answers.images is not None
    assert answers.captions is not None
    return answers.images, answers.captions, np.minimum(answers.images, answers.captions)
