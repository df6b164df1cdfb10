"""From embeddings to numbers with intervals and chance, and to what was said of every sample."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from structure.pipeline.metrics.answers import (
    Answers,
    ClassAnswers,
    MultilabelAnswers,
    RetrievalAnswers,
    SelectionAnswers,
)
from structure.pipeline.metrics.average_precision import checked
from structure.pipeline.metrics.classification.auroc import auroc_by_class
from structure.pipeline.metrics.intervals import Interval
from structure.pipeline.metrics.matrices import Array, as_numpy, unit_rows
from structure.pipeline.metrics.metric import AnyMetric
from structure.pipeline.metrics.predictions import Predictions, classify_blocks
from structure.pipeline.metrics.registry import evaluated_metrics
from structure.pipeline.metrics.retrieval_ranks import Ranks, retrieval_ranks
from structure.pipeline.metrics.zero_shot_classifier import class_logits
from structure.store.errors import StructureError


@dataclass(frozen=True)
class TaskScores:
    """What one aligner reached on one task.

    `intervals` and `chance` are by metric name, values are fractions; a metric that is undefined (acc5 below five
    classes) is in `undefined` instead. `samples` has one row a query; `notes` what a reader must know of the data;
    `confusion` (label, prediction, count) the pairs of classes that occur, None where classes are not predicted;
    `by_class` one row a class where samples have several; `pictures` PNGs by file name and `examples` a few queries
    with their answers, both for the report.
    """

    intervals: Mapping[str, Interval]
    chance: Mapping[str, float]
    samples: pa.Table
    undefined: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    confusion: pa.Table | None = None
    by_class: pa.Table | None = None
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    examples: pa.Table | None = None

    def noted(self, **counts: int) -> TaskScores:
        """The same with more notes."""
        return replace(self, notes={**self.notes, **counts})

    def metrics(self) -> dict[str, float]:
        """Metric -> value, NaN where it is undefined."""
        return {name: interval.value for name, interval in self.intervals.items()} | dict.fromkeys(
            self.undefined, math.nan
        )


def score_metrics(
    answers: Answers, metrics: Sequence[AnyMetric], *, seed: int = 0, notes: Mapping[str, Any]
) -> TaskScores:
    """Every metric that applies to the answers, with its interval and chance, and their table."""
    applied = [each for each in metrics if each.needs_multilabel == isinstance(answers, MultilabelAnswers)]
    defined = [each for each in applied if each.is_defined(answers)]
    chance = {each.name: each.chance(answers) for each in defined}
    return TaskScores(
        {each.name: each.interval(answers, seed=seed) for each in defined},
        {name: level for name, level in chance.items() if level is not None},
        answers.table,
        tuple(each.name for each in applied if each not in defined),
        notes,
    )


def score_classification(
    images: Iterable[Array],
    vectors: Array,
    labels: np.ndarray,
    *,
    ids: Sequence[str],
    classes: Sequence[str],
    metrics: Sequence[AnyMetric] = (),
    seed: int = 0,
) -> TaskScores:
    """Zero-shot classification of embeddings, in blocks `(rows, dim)`, by `(classes, dim)` vectors; `labels` (n,) of
    all rows, -1 = unlabelled. Without `metrics`, the default ones.
    """
    labelled = np.flatnonzero(labels >= 0)
    if not len(labelled):
        raise StructureError("No sample has a label for this task: there is nothing to evaluate.")
    predictions = classify_blocks(images, vectors, labels)
    metrics = metrics or evaluated_metrics("zeroshot_classification")
    named = [ids[int(i)] for i in labelled]
    scores = score_predictions(predictions, ids=named, classes=classes, metrics=metrics, seed=seed)
    return scores.noted(unlabelled=len(labels) - len(labelled))


def score_predictions(
    said: Predictions,
    *,
    ids: Sequence[str],
    classes: Sequence[str],
    metrics: Sequence[AnyMetric],
    columns: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> TaskScores:
    """Metrics of ready predictions; `columns` (n,) go into the table beside them, for metrics that read them."""
    names = np.asarray(classes, dtype=object)
    named, ends = pa.array(list(classes)), pa.array(np.arange(len(ids) + 1, dtype=np.int32) * said.top.shape[1])
    table = pa.table(
        {
            "sample": list(ids),
            "label": named.take(pa.array(said.labels)),
            "prediction": named.take(pa.array(said.top[:, 0])),
            "label_index": said.labels.astype(np.int32),
            "rank": said.ranks,
            "top": pa.ListArray.from_arrays(ends, named.take(pa.array(said.top.ravel()))),
            "scores": pa.ListArray.from_arrays(ends, pa.array(said.scores.ravel().astype(np.float64))),
        }
    )
    for name, values in (columns or {}).items():
        table = table.append_column(name, pa.array(values))
    notes = {"classes_without_samples": int((said.class_sizes() == 0).sum())}
    answers = ClassAnswers(table, classes=len(classes))
    return replace(score_metrics(answers, metrics, seed=seed, notes=notes), confusion=_confusion(said, names))


def _confusion(said: Predictions, names: np.ndarray) -> pa.Table:
    """The cells of the confusion matrix that are not zero; a class list of a thousand has a million cells."""
    pairs, counts = np.unique(said.labels * said.classes + said.top[:, 0], return_counts=True)
    label, prediction = pairs // said.classes, pairs % said.classes
    return pa.table(
        {
            "label": names[label].tolist(),
            "prediction": names[prediction].tolist(),
            "label_index": label.astype(np.int32),
            "prediction_index": prediction.astype(np.int32),
            "count": counts.astype(np.int64),
        }
    )


def score_multilabel(
    images: Iterable[Array],
    vectors: Array,
    targets: np.ndarray,
    *,
    ids: Sequence[str],
    classes: Sequence[str] = (),
    metrics: Sequence[AnyMetric] = (),
    seed: int = 0,
) -> TaskScores:
    """Zero-shot scores of embeddings, in blocks `(rows, dim)`, against 0/1 `targets` (n, classes).

    With the names of the `classes`, each class's AUROC with its interval too."""
    logits = np.concatenate([as_numpy(class_logits(block, vectors)) for block in images])
    scores, targets = checked(logits, targets)
    table = pa.table(
        {
            "sample": list(ids),
            "labels": [np.flatnonzero(row).tolist() for row in targets],
            "scores": [row.tolist() for row in scores],
        }
    )
    notes = {"classes_without_samples": int((targets.sum(axis=0) == 0).sum())}
    metrics = metrics or evaluated_metrics("zeroshot_classification")
    answers = MultilabelAnswers(table)
    by_class = auroc_by_class(answers, list(classes), seed=seed) if classes else None
    return replace(score_metrics(answers, metrics, seed=seed, notes=notes), by_class=by_class)


def retrieval_answers(ranks: Ranks, *, image_ids: Sequence[str], text_ids: Sequence[str]) -> RetrievalAnswers:
    """A row a query, captions first; the images are the clusters."""
    precisions = 1 / (ranks.of_images + 1.0)
    owners = [image_ids[image] for image in ranks.image_of_text]
    table = pa.table(
        {
            "query": [*text_ids, *image_ids],
            "of": ["image"] * len(text_ids) + ["text"] * len(image_ids),
            "item": [*owners, *image_ids],
            "rank": np.concatenate([ranks.of_images, ranks.of_texts]),
            "average_precision": np.concatenate([precisions, ranks.precisions]),
        }
    )
    return RetrievalAnswers(table, np.concatenate([ranks.image_of_text, np.arange(len(image_ids))]))


def score_retrieval(
    images: Array,
    texts: Array,
    image_of_text: np.ndarray,
    *,
    image_ids: Sequence[str],
    text_ids: Sequence[str],
    metrics: Sequence[AnyMetric] = (),
    seed: int = 0,
) -> TaskScores:
    """Retrieval both ways. Intervals: bootstrap over images; the captions of an image stay together.

    Without `metrics`, the default ones, with recall at 1, 5 and 10.
    """
    answers = retrieval_answers(retrieval_ranks(images, texts, image_of_text), image_ids=image_ids, text_ids=text_ids)
    metrics = metrics or evaluated_metrics("zeroshot_retrieval", (1, 5, 10))
    notes = {"images": len(image_ids), "captions": len(text_ids)}
    return score_metrics(answers, metrics, seed=seed, notes=notes)


def score_selection(
    images: Array,
    texts: Array,
    *,
    group_of_image: np.ndarray,
    group_of_text: np.ndarray,
    groups: Sequence[str],
    metrics: Sequence[AnyMetric] = (),
    seed: int = 0,
) -> TaskScores:
    """Which caption belongs to which image, within groups of a few (Winoground, SugarCrepe), as in CLIP_benchmark.

    The i-th image of a group belongs to its i-th caption; further captions (or images) are distractors. `text_acc`:
    every such image is closest to its caption, `image_acc`: every such caption to its image, `acc`: both. Equal
    cosines: the first one is chosen. Both sides `(n, dim)`, rows of a group in order; bootstrap over groups.
    """
    left = unit_rows(images, name="image embeddings")
    right = unit_rows(texts, name="caption embeddings").to(left)
    image_rows, caption_rows = _members(group_of_image, len(groups)), _members(group_of_text, len(groups))
    right_images, right_texts = np.zeros(len(groups), dtype=bool), np.zeros(len(groups), dtype=bool)
    for group, (image_members, captions) in enumerate(zip(image_rows, caption_rows, strict=True)):
        if not len(image_members) or not len(captions):
            raise StructureError(
                f"Group {groups[group]!r} has {len(image_members)} images and {len(captions)} captions."
            )
        scores = as_numpy(left[image_members] @ right[captions].T)
        own = np.arange(min(scores.shape))
        right_texts[group] = (scores.argmax(axis=1)[: len(own)] == own).all()
        right_images[group] = (scores.argmax(axis=0)[: len(own)] == own).all()
    hits = {"image_acc": right_images, "text_acc": right_texts, "acc": right_images & right_texts}
    sizes = (np.array([len(rows) for rows in side]) for side in (image_rows, caption_rows))
    answers = SelectionAnswers(pa.table({"sample": list(groups), **hits}), None, *sizes)
    return score_metrics(answers, metrics or evaluated_metrics("image_caption_selection"), seed=seed, notes={})


def _members(group: np.ndarray, groups: int) -> list[np.ndarray]:
    order = np.argsort(group, kind="stable")
    return np.split(order, np.cumsum(np.bincount(group, minlength=groups))[:-1])
