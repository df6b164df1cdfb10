"""Mean average precision of retrieval."""

from __future__ import annotations

import numpy as np

from structure.pipeline.metrics.answers import RetrievalAnswers
from structure.pipeline.metrics.chance import expected_precision
from structure.pipeline.metrics.metric import SampleMean


class ImageRetrievalMap(SampleMean[RetrievalAnswers]):
    """Mean over captions of 1 / rank of their image; bootstrap over images. Chance: a random order of the images."""

    task = "zeroshot_retrieval"
    notation = "T→I mAP"
    opposite = "text_retrieval_map"
    meaning = "average precision of the images retrieved for a caption, averaged over captions"
    is_default = True
    columns = ("of", "item", "average_precision")

    def chosen(self, answers: RetrievalAnswers) -> RetrievalAnswers:
        return answers.where("of", "image")

    def values(self, answers: RetrievalAnswers) -> np.ndarray:
        return answers.column("average_precision")

    def chance(self, answers: RetrievalAnswers) -> float:
        return self.chance_of_pairs(answers.units)

    def chance_of_pairs(self, count: int) -> float:
        return expected_precision(np.ones(1), count)


class TextRetrievalMap(ImageRetrievalMap):
    """Mean over images of the average precision of their captions. Chance: a random order of the captions."""

    notation = "I→T mAP"
    opposite = "image_retrieval_map"
    meaning = "average precision of the captions retrieved for an image, averaged over images"

    def chosen(self, answers: RetrievalAnswers) -> RetrievalAnswers:
        return answers.where("of", "text")

    def chance(self, answers: RetrievalAnswers) -> float:
        return expected_precision(answers.captions, int(answers.captions.sum()))
