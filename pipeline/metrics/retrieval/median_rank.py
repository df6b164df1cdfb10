"""Median rank of the best correct answer, from 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from structure.pipeline.metrics.answers import RetrievalAnswers
from structure.pipeline.metrics.chance import expected_median_rank
from structure.pipeline.metrics.metric import SampleStatistic
from structure.pipeline.metrics.weighted_median import weighted_median


class ImageRetrievalMedianRank(SampleStatistic[RetrievalAnswers]):
    """Median over captions of the rank of their image; bootstrap over images. Chance: the middle of the gallery."""

    task = "zeroshot_retrieval"
    notation = "T→I median rank"
    opposite = "text_retrieval_median_rank"
    meaning = "median rank of the correct image, from 1; lower is better"
    bounds = (1.0, float("inf"))
    higher_is_better = False
    is_default = True
    columns = ("of", "item", "rank")

    def chosen(self, answers: RetrievalAnswers) -> RetrievalAnswers:
        return answers.where("of", "image")

    def statistic(self, answers: RetrievalAnswers) -> Callable[[np.ndarray], np.ndarray]:
        assert answers.clusters is not None
        return weighted_median(answers.column("rank") + 1, answers.clusters)

    def chance(self, answers: RetrievalAnswers) -> float:
        return self.chance_of_pairs(answers.units)

    def chance_of_pairs(self, count: int) -> float:
        return (count + 1) / 2


class TextRetrievalMedianRank(ImageRetrievalMedianRank):
    """Median over images of the rank of their best caption."""

    notation = "I→T median rank"
    opposite = "image_retrieval_median_rank"
    meaning = "median rank of the first correct caption, from 1; lower is better"

    def chosen(self, answers: RetrievalAnswers) -> RetrievalAnswers:
        return answers.where("of", "text")

    def chance(self, answers: RetrievalAnswers) -> float:
        return expected_median_rank(answers.captions)

    def chance_of_pairs(self, count: int) -> float:
        return expected_median_rank(np.ones(count))
