"""Zero-shot classification of an aligner's image embeddings by its prompt embeddings."""

from __future__ import annotations

import numpy as np

from structure.pipeline.evaluation.question import Question
from structure.pipeline.evaluation.subject import Subject
from structure.pipeline.features.cached import FeatureSource
from structure.pipeline.suites.classifier import class_vectors_of
from structure.pipeline.suites.judge import Judgement, judge_classification, judge_multilabel


def classify_zeroshot(question: Question, subject: Subject, source: FeatureSource, *, seed: int) -> Judgement:
    """One aligner on one classification task. Prompts and pictures pass a shard at a time."""
    prompts, samples, label = question.prompts, question.samples, question.task.label
    assert prompts is not None
    images = subject.images(source, question.rows)
    words = subject.texts(source, question.prompt_rows())
    vectors = class_vectors_of(words.blocks(), prompts.counts())
    item_ids = samples.item_ids
    ids = [item_ids[row] for row in images.rows]
    if samples.kind == "multilabel":
        targets = np.zeros((len(samples), len(prompts.classes)), dtype=np.int64)
        for row, present in enumerate(samples.label_sets(label)):
            targets[row, present] = 1
        judged = judge_multilabel(images.blocks(), vectors, targets[images.rows], ids=ids, seed=seed)
    else:
        labels = samples.labels(label)[images.rows]
        judged = judge_classification(images.blocks(), vectors, labels, ids=ids, classes=prompts.classes, seed=seed)
    return judged.noted(unreadable=images.unreadable)
