"""From embeddings to numbers with intervals and chance, and to what was said of every sample."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from structure.pipeline.metrics.average_precision import average_precisions
from structure.pipeline.metrics.chance import (
    classification_chance,
    multilabel_chance,
    retrieval_chance,
    selection_chance,
)
from structure.pipeline.metrics.intervals import Interval, mean_interval, median_interval, statistic_interval
from structure.pipeline.metrics.matrices import Array, as_numpy, unit_rows
from structure.pipeline.metrics.predictions import DEPTH, Predictions, classify_blocks
from structure.pipeline.metrics.retrieval_ranks import retrieval_ranks
from structure.pipeline.metrics.zero_shot_classifier import class_logits
from structure.store.errors import StructureError


@dataclass(frozen=True)
class TaskScores:
    """What one aligner reached on one task.

    `intervals` and `chance` are by metric name, values are fractions; a metric that is undefined (acc5 below five
    classes) is in `undefined` instead. `samples` has one row a query; `notes` what a reader must know of the data;
    `confusion` (label, prediction, count) the pairs of classes that occur, None where classes are not predicted;
    `pictures` PNGs by file name and `examples` a few queries with their answers, both for the report.
    """

    intervals: Mapping[str, Interval]
    chance: Mapping[str, float]
    samples: pa.Table
    undefined: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    confusion: pa.Table | None = None
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


def score_classification(
    images: Iterable[Array],
    vectors: Array,
    labels: np.ndarray,
    *,
    ids: Sequence[str],
    classes: Sequence[str],
    seed: int = 0,
) -> TaskScores:
    """Zero-shot classification of embeddings, in blocks `(rows, dim)`, by `(classes, dim)` vectors; `labels` (n,) of
    all rows, -1 = not asked.

    Intervals: bootstrap over samples for acc1 and acc5, over the classes that occur for the mean recall.
    """
    asked = np.flatnonzero(labels >= 0)
    if not len(asked):
        raise StructureError("No sample has a label for this task: there is nothing to evaluate.")
    said = classify_blocks(images, vectors, labels)
    judged = score_predictions(said, ids=[ids[int(i)] for i in asked], classes=classes, seed=seed)
    return judged.noted(unlabelled=len(labels) - len(asked))


def score_predictions(
    said: Predictions, *, ids: Sequence[str], classes: Sequence[str], prefix: str = "", seed: int = 0
) -> TaskScores:
    """Accuracy and mean recall of ready predictions; metric names begin with `prefix` (`lp_` for a linear probe)."""
    intervals = {"acc1": mean_interval(said.hits(1), seed=seed)}
    undefined: tuple[str, ...] = ("acc5",)
    if len(classes) >= DEPTH:
        intervals["acc5"], undefined = mean_interval(said.hits(DEPTH), seed=seed), ()
    recalls = said.class_recalls()
    intervals["mean_per_class_recall"] = mean_interval(recalls[~np.isnan(recalls)], seed=seed)
    chance = classification_chance(len(classes))
    names = np.asarray(classes, dtype=object)
    table = pa.table(
        {
            "sample": list(ids),
            "label": names[said.labels].tolist(),
            "prediction": names[said.top[:, 0]].tolist(),
            "label_index": said.labels.astype(np.int32),
            "rank": said.ranks,
            "top": [names[row].tolist() for row in said.top],
            "scores": [row.tolist() for row in said.scores],
        }
    )
    return TaskScores(
        {prefix + name: interval for name, interval in intervals.items()},
        {prefix + name: chance[name] for name in intervals},
        table,
        tuple(prefix + name for name in undefined),
        {"classes_without_samples": int((said.class_sizes() == 0).sum())},
        _confusion(said, names),
    )


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
    images: Iterable[Array], vectors: Array, targets: np.ndarray, *, ids: Sequence[str], seed: int = 0
) -> TaskScores:
    """Mean average precision of embeddings, in blocks `(rows, dim)`, against 0/1 `targets` (n, classes); bootstrap
    over samples."""
    scores = np.concatenate([as_numpy(class_logits(block, vectors)) for block in images])

    def mean_precision(counts: np.ndarray) -> np.ndarray:
        return np.asarray(average_precisions(scores, targets, weights=counts).mean(axis=1))

    interval = statistic_interval(mean_precision, n=len(targets), seed=seed)
    table = pa.table(
        {
            "sample": list(ids),
            "labels": [np.flatnonzero(row).tolist() for row in targets],
            "scores": [row.tolist() for row in scores],
        }
    )
    return TaskScores(
        {"mean_average_precision": interval},
        multilabel_chance(targets),
        table,
        notes={"classes_without_samples": int((targets.sum(axis=0) == 0).sum())},
    )


def score_retrieval(
    images: Array,
    texts: Array,
    image_of_text: np.ndarray,
    *,
    image_ids: Sequence[str],
    text_ids: Sequence[str],
    ks: Sequence[int] = (1, 5, 10),
    seed: int = 0,
) -> TaskScores:
    """Retrieval both ways: recall@k, mean average precision, median rank (from 1) of the best right answer.

    Intervals: bootstrap over images; the captions of an image stay together.
    """
    ranks = retrieval_ranks(images, texts, image_of_text)
    intervals: dict[str, Interval] = {}
    for k in ks:
        intervals[f"image_retrieval_recall@{k}"] = mean_interval(ranks.of_images < k, clusters=image_of_text, seed=seed)
        intervals[f"text_retrieval_recall@{k}"] = mean_interval(ranks.of_texts < k, seed=seed)
    precisions = 1 / (ranks.of_images + 1.0)
    intervals["image_retrieval_map"] = mean_interval(precisions, clusters=image_of_text, seed=seed)
    intervals["text_retrieval_map"] = mean_interval(ranks.precisions, seed=seed)
    intervals["image_retrieval_median_rank"] = median_interval(ranks.of_images + 1, clusters=image_of_text, seed=seed)
    intervals["text_retrieval_median_rank"] = median_interval(ranks.of_texts + 1, seed=seed)
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
    chance = retrieval_chance(image_of_text, images=len(image_ids), ks=ks)
    return TaskScores(intervals, chance, table, notes={"images": len(image_ids), "captions": len(text_ids)})


def score_selection(
    images: Array,
    texts: Array,
    *,
    group_of_image: np.ndarray,
    group_of_text: np.ndarray,
    groups: Sequence[str],
    seed: int = 0,
) -> TaskScores:
    """Which caption belongs to which picture, within groups of a few (Winoground, SugarCrepe), as in CLIP_benchmark.

    The i-th picture of a group belongs to its i-th caption; further captions (or pictures) are distractors. `text_acc`:
    every such picture is closest to its caption, `image_acc`: every such caption to its picture, `acc`: both. Equal
    cosines: the first one is chosen. Both sides `(n, dim)`, rows of a group in order; bootstrap over groups.
    """
    left = unit_rows(images, name="image embeddings")
    right = unit_rows(texts, name="caption embeddings").to(left)
    picture_rows, caption_rows = _members(group_of_image, len(groups)), _members(group_of_text, len(groups))
    right_images, right_texts = np.zeros(len(groups), dtype=bool), np.zeros(len(groups), dtype=bool)
    for group, (pictures, captions) in enumerate(zip(picture_rows, caption_rows, strict=True)):
        if not len(pictures) or not len(captions):
            raise StructureError(f"Group {groups[group]!r} has {len(pictures)} pictures and {len(captions)} captions.")
        scores = as_numpy(left[pictures] @ right[captions].T)
        own = np.arange(min(scores.shape))
        right_texts[group] = (scores.argmax(axis=1)[: len(own)] == own).all()
        right_images[group] = (scores.argmax(axis=0)[: len(own)] == own).all()
    hits = {"image_acc": right_images, "text_acc": right_texts, "acc": right_images & right_texts}
    sizes = (np.array([len(rows) for rows in side]) for side in (picture_rows, caption_rows))
    return TaskScores(
        {name: mean_interval(values, seed=seed) for name, values in hits.items()},
        selection_chance(*sizes),
        pa.table({"sample": list(groups), **hits}),
    )


def _members(group: np.ndarray, groups: int) -> list[np.ndarray]:
    order = np.argsort(group, kind="stable")
    return np.split(order, np.cumsum(np.bincount(group, minlength=groups))[:-1])
