"""Recall@k: is a correct answer among the k best?"""

from __future__ import annotations

import numpy as np

from structure.pipeline.metrics.answers import RetrievalAnswers
from structure.pipeline.metrics.chance import expected_recall
from structure.pipeline.metrics.metric import SampleMean


class ImageRetrievalRecall(SampleMean[RetrievalAnswers]):
    """Captions look for their image among all images; bootstrap over images. Chance: k of a random order, k/images."""

    task = "zeroshot_retrieval"
    notation = "T→I R@k"
    opposite = "text_retrieval_recall@k"
    meaning = "text-to-image recall@k: share of the captions whose image is in the first k"
    is_default = True
    columns = ("of", "item", "rank")

    def chosen(self, answers: RetrievalAnswers) -> RetrievalAnswers:
        return answers.where("of", "image")

    def values(self, answers: RetrievalAnswers) -> np.ndarray:
        return np.asarray(answers.column("rank") < (self.k or 0))

    def chance(self, answers: RetrievalAnswers) -> float:
        return self.chance_of_pairs(answers.units)

    def chance_of_pairs(self, count: int) -> float:
        return min(self.k or 0, count) / count


class TextRetrievalRecall(ImageRetrievalRecall):
    """Images look for any of their captions among all captions. Chance: hypergeometric, mean over the images."""

    notation = "I→T R@k"
    opposite = "image_retrieval_recall@k"
    meaning = "image-to-text recall@k: share of the images with one of their captions in the first k"

    def chosen(self, answers: RetrievalAnswers) -> RetrievalAnswers:
        return answers.where("of", "text")

    def chance(self, answers: RetrievalAnswers) -> float:
        return expected_recall(answers.captions, self.k or 0)
