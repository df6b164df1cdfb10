"""Choosing the caption that belongs to an image, and the image that belongs to a caption, within small groups."""

from __future__ import annotations

from functools import partial

import numpy as np

from structure.pipeline.evaluation.embeddings import Embeddings
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.evaluation.judge import Judge
from structure.pipeline.evaluation.task import TaskRows
from structure.pipeline.extraction.stored_or_extracted import FeatureSource
from structure.pipeline.metrics.score import TaskScores, score_selection
from structure.pipeline.progress import Listener


def select_captions(question: TaskRows, subject: EvaluatedAligner, source: FeatureSource, *, seed: int) -> Judge:
    """One aligner on one selection task. Samples `<group>/<number>` belong together; any other sample is its own group.

    A group with an image that could not be read is left out as a whole: the rest of it is another question.
    """
    images = subject.images(source, question.rows)
    texts = subject.texts(source, question.rows, captions=None)
    return partial(_selected, question, images, texts, seed)


def _selected(question: TaskRows, images: Embeddings, texts: Embeddings, seed: int, on_event: Listener) -> TaskScores:
    samples = question.samples
    names = np.array([item.rpartition("/")[0] or item for item in samples.item_ids], dtype=object)
    groups, group = np.unique(names, return_inverse=True)
    whole = np.ones(len(groups), dtype=bool)
    whole[group[~images.features.valid]] = False
    of_every_text = samples.item_of_caption(texts.features.manifest.captions)
    whole[group[of_every_text[~texts.features.valid]]] = False
    of_text = of_every_text[texts.rows]
    pictures, captions = np.flatnonzero(whole[group[images.rows]]), np.flatnonzero(whole[group[of_text]])
    number = np.cumsum(whole) - 1
    judged = score_selection(
        images.whole()[pictures],
        texts.whole()[captions],
        group_of_image=number[group[images.rows[pictures]]],
        group_of_text=number[group[of_text[captions]]],
        groups=[str(name) for name in groups[whole]],
        metrics=question.metrics,
        seed=seed,
    )
    return judged.noted(**images.left_out())
