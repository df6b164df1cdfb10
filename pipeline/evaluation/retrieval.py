"""Retrieval both ways between an aligner's image embeddings and its caption embeddings."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

import numpy as np

from structure.pipeline.datasets.image_files import ImageFiles
from structure.pipeline.evaluation.embeddings import Embeddings
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.evaluation.examples import jpeg, retrieval_examples
from structure.pipeline.evaluation.judge import Judge
from structure.pipeline.evaluation.task import TaskRows
from structure.pipeline.extraction.stored_or_extracted import FeatureSource
from structure.pipeline.metrics.score import TaskScores, score_retrieval
from structure.pipeline.progress import Listener
from structure.store import FeatureSet, Samples


def retrieve_zeroshot(question: TaskRows, subject: EvaluatedAligner, source: FeatureSource, *, seed: int) -> Judge:
    """One aligner on one retrieval task; images that could not be read take their captions with them."""
    images = subject.images(source, question.rows)
    texts = subject.texts(source, question.rows, captions=None)
    return partial(_retrieved, question, images, texts, seed)


def _retrieved(question: TaskRows, images: Embeddings, texts: Embeddings, seed: int, on_event: Listener) -> TaskScores:
    samples = question.samples
    shown_texts, rows_of = _texts(samples, texts.features), texts.features.manifest
    of_text = samples.item_of_row(rows_of.rows_of, rows_of.captions)[texts.rows]
    place = np.full(len(samples), -1)
    place[images.rows] = np.arange(len(images))
    kept = np.flatnonzero(place[of_text] >= 0)
    described = np.unique(place[of_text[kept]])
    item_ids, text_ids = question.item_ids, texts.features.ids
    items = images.rows[described]
    sides = images.whole()[described], texts.whole()[kept], np.searchsorted(described, place[of_text[kept]])
    ids = [item_ids[item] for item in items]
    rows = texts.rows[kept]
    judged = score_retrieval(
        *sides, image_ids=ids, text_ids=[str(text_ids[i]) for i in rows], metrics=question.metrics, seed=seed
    )
    ranks = judged.samples["rank"].to_numpy()
    shown = retrieval_examples(
        *sides,
        ranks=(ranks[: len(kept)], ranks[len(kept) :]),
        names=[(item_ids[item], _file(question, int(item))) for item in items],
        captions=[shown_texts[i] for i in rows],
        thumbnail=lambda row: _thumbnail(question, int(items[row])),
    )
    judged = replace(judged, examples=shown)
    return judged.noted(**images.left_out(), without_caption=len(images) - len(described))


def _texts(samples: Samples, features: FeatureSet) -> list[str]:
    """What each row of the second side says: its caption, or the id of the sample where its rows are no captions."""
    manifest = features.manifest
    return samples.texts(manifest.captions) if manifest.rows_of == "captions" else samples.item_ids


def _file(question: TaskRows, item: int) -> str:
    """The name of the sample's image file; "" where the data are no image files, or not here."""
    images = question.rows.dataset
    return os.path.basename(images.paths[item]) if isinstance(images, ImageFiles) else ""


def _thumbnail(question: TaskRows, item: int) -> bytes | None:
    """Drawn once for all aligners; None where the images are not on this machine."""
    pictures, key = question.rows.dataset, f"thumbnail {item}"
    if pictures is None:
        return None
    if key not in question.memo:
        question.memo[key] = jpeg(lambda: pictures.image(item))
    drawn: bytes | None = question.memo[key]
    return drawn
