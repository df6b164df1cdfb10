"""Retrieval both ways between an aligner's image embeddings and its caption embeddings."""

from __future__ import annotations

import numpy as np

from structure.pipeline.evaluation.question import Question
from structure.pipeline.evaluation.subject import Subject
from structure.pipeline.features.cached import FeatureSource
from structure.pipeline.suites.judge import Judgement, judge_retrieval


def retrieve_zeroshot(question: Question, subject: Subject, source: FeatureSource, *, seed: int) -> Judgement:
    """One aligner on one retrieval task; pictures that could not be read take their captions with them."""
    samples = question.samples
    images = subject.images(source, question.rows)
    texts = subject.texts(source, question.rows, captions=None)
    of_text = samples.item_of_caption(texts.features.manifest.captions)
    place = np.full(len(samples), -1)
    place[images.rows] = np.arange(len(images))
    kept = np.flatnonzero(place[of_text] >= 0)
    described = np.unique(place[of_text[kept]])
    item_ids, text_ids = samples.item_ids, texts.features.ids
    judged = judge_retrieval(
        images.whole()[described],
        texts.whole()[kept],
        np.searchsorted(described, place[of_text[kept]]),
        image_ids=[item_ids[images.rows[i]] for i in described],
        text_ids=[str(text_ids[i]) for i in kept],
        ks=question.task.ks,
        seed=seed,
    )
    return judged.noted(unreadable=images.unreadable, without_caption=len(images) - len(described))
