"""Zero-shot classification of an aligner's image embeddings by its prompt embeddings."""

from __future__ import annotations

from functools import partial

import numpy as np

from structure.pipeline.evaluation.embeddings import Embeddings
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.evaluation.judge import Judge
from structure.pipeline.evaluation.task import TaskRows
from structure.pipeline.extraction.stored_or_extracted import FeatureSource
from structure.pipeline.metrics.score import TaskScores, score_classification, score_multilabel
from structure.pipeline.metrics.zero_shot_classifier import class_vectors_of
from structure.pipeline.progress import Listener


def classify_zeroshot(question: TaskRows, subject: EvaluatedAligner, source: FeatureSource, *, seed: int) -> Judge:
    """One aligner on one classification task. Prompts and images pass a shard at a time."""
    images = subject.images(source, question.rows)
    words = subject.texts(source, question.prompt_rows)
    return partial(_classified, question, images, words, seed)


def _classified(question: TaskRows, images: Embeddings, words: Embeddings, seed: int, on_event: Listener) -> TaskScores:
    prompts, samples, label = question.prompts, question.samples, question.task.label
    assert prompts is not None
    vectors = class_vectors_of(words.blocks(), prompts.counts())
    item_ids = question.item_ids
    ids = [item_ids[row] for row in images.rows]
    if samples.kind == "multilabel":
        targets = np.zeros((len(samples), len(prompts.classes)), dtype=np.int64)
        for row, present in enumerate(samples.label_sets(label)):
            targets[row, present] = 1
        judged = score_multilabel(
            images.blocks(),
            vectors,
            targets[images.rows],
            ids=ids,
            classes=prompts.classes,
            metrics=question.metrics,
            seed=seed,
        )
    else:
        labels = samples.labels(label)[images.rows]
        judged = score_classification(
            images.blocks(), vectors, labels, ids=ids, classes=prompts.classes, metrics=question.metrics, seed=seed
        )
    return judged.noted(**images.left_out())
