"""An evaluation metric of another package: the mean reciprocal rank of text-to-image retrieval."""

from __future__ import annotations

import numpy as np

from structure.pipeline.metrics.answers import RetrievalAnswers
from structure.pipeline.metrics.metric import SampleMean


class ImageRetrievalMrr(SampleMean[RetrievalAnswers]):
    """Captions look for their image: the mean of 1 / (rank from 1). Chance: the harmonic number over the images."""

    task = "zeroshot_retrieval"
    notation = "T→I MRR"
    meaning = "text-to-image retrieval: mean of one over the rank of the image"

    def chosen(self, answers: RetrievalAnswers) -> RetrievalAnswers:
        return answers.where("of", "image")

    def values(self, answers: RetrievalAnswers) -> np.ndarray:
        return 1 / (answers.column("rank") + 1)

    def chance(self, answers: RetrievalAnswers) -> float:
        return float(np.mean(1 / np.arange(1, answers.units + 1)))
