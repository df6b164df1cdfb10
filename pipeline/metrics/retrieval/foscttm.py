"""Fraction of samples closer than the true match, from the ranks of a retrieval test."""

from __future__ import annotations

import numpy as np

from structure.pipeline.metrics.answers import RetrievalAnswers
from structure.pipeline.metrics.metric import SampleMean


class ImageRetrievalFoscttm(SampleMean[RetrievalAnswers]):
    """Mean over captions of the share of the other images that rank before their image; bootstrap over images. Equal
    cosines rank in the order of the gallery, so that chance is .5. Liu et al., WABI 2019 (arXiv 1810.10664)."""

    task = "zeroshot_retrieval"
    notation = "T→I FOSCTTM"
    opposite = "text_retrieval_foscttm"
    meaning = "share of the other images that are closer to a caption than its own image; 0 is perfect"
    higher_is_better = False
    columns = ("of", "item", "rank")

    def is_defined(self, answers: RetrievalAnswers) -> bool:
        return answers.units > 1

    def chosen(self, answers: RetrievalAnswers) -> RetrievalAnswers:
        return answers.where("of", "image")

    def others(self, answers: RetrievalAnswers) -> np.ndarray:
        """(queries,) float64: gallery rows that are wrong."""
        return np.full(len(answers.table), answers.units - 1.0)

    def values(self, answers: RetrievalAnswers) -> np.ndarray:
        return np.asarray(answers.column("rank") / self.others(answers))

    def chance(self, answers: RetrievalAnswers) -> float:
        return 0.5

    def chance_of_pairs(self, count: int) -> float:
        return 0.5


class TextRetrievalFoscttm(ImageRetrievalFoscttm):
    """Mean over images of the share of the other images' captions that rank before the first of theirs. Of p captions
    of one image a random order has a share of 1/(p + 1) of the others before the first."""

    notation = "I→T FOSCTTM"
    opposite = "image_retrieval_foscttm"
    meaning = "share of the other images' captions that are closer to an image than its own; 0 is perfect"

    def chosen(self, answers: RetrievalAnswers) -> RetrievalAnswers:
        return answers.where("of", "text")

    def others(self, answers: RetrievalAnswers) -> np.ndarray:
        captions = answers.captions
        return np.asarray(captions.sum() - captions[answers.clusters])

    def chance(self, answers: RetrievalAnswers) -> float:
        return float((1 / (answers.captions + 1)).mean())
