"""From embeddings to numbers with intervals and chance, and to what was said of every sample."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from structure.pipeline.suites.chance import classification_chance, multilabel_chance, retrieval_chance
from structure.pipeline.suites.classifier import class_logits
from structure.pipeline.suites.intervals import Interval, mean_interval, statistic_interval
from structure.pipeline.suites.multilabel import average_precisions
from structure.pipeline.suites.predictions import classify_blocks
from structure.pipeline.suites.retrieval import retrieval_ranks
from structure.pipeline.suites.rows import Array, as_numpy
from structure.store.errors import StructureError


@dataclass(frozen=True)
class Judgement:
    """What one aligner reached on one task.

    `intervals` and `chance` are by metric name, values are fractions; a metric that is undefined (acc5 below five
    classes) is in `undefined` instead. `samples` has one row a query; `notes` what a reader must know of the data.
    """

    intervals: Mapping[str, Interval]
    chance: Mapping[str, float]
    samples: pa.Table
    undefined: tuple[str, ...] = ()
    notes: Mapping[str, int] | None = None

    def metrics(self) -> dict[str, float]:
        """Metric -> value, NaN where it is undefined."""
        return {name: interval.value for name, interval in self.intervals.items()} | dict.fromkeys(
            self.undefined, math.nan
        )


def judge_classification(
    images: Iterable[Array],
    vectors: Array,
    labels: np.ndarray,
    *,
    ids: Sequence[str],
    classes: Sequence[str],
    seed: int = 0,
) -> Judgement:
    """Zero-shot classification of embeddings, in blocks `(rows, dim)`, by `(classes, dim)` vectors; `labels` (n,) of
    all rows, -1 = not asked.

    Intervals: bootstrap over samples for acc1 and acc5, over the classes that occur for the mean recall.
    """
    asked = np.flatnonzero(labels >= 0)
    if not len(asked):
        raise StructureError("No sample has a label for this task: there is nothing to evaluate.")
    said = classify_blocks(images, vectors, labels)
    chance = classification_chance(len(classes))
    intervals = {"acc1": mean_interval(said.hits(1), seed=seed)}
    undefined: tuple[str, ...] = ("acc5",)
    if len(classes) >= 5:
        intervals["acc5"], undefined = mean_interval(said.hits(5), seed=seed), ()
    recalls = said.class_recalls()
    intervals["mean_per_class_recall"] = mean_interval(recalls[~np.isnan(recalls)], seed=seed)
    names = np.asarray(classes, dtype=object)
    table = pa.table(
        {
            "sample": [ids[int(i)] for i in asked],
            "label": names[said.labels].tolist(),
            "prediction": names[said.top[:, 0]].tolist(),
            "rank": pa.array(said.ranks),
            "top": [names[row].tolist() for row in said.top],
            "scores": [row.tolist() for row in said.scores],
        }
    )
    notes = {"classes_without_samples": int((said.class_sizes() == 0).sum()), "unlabelled": len(labels) - len(asked)}
    return Judgement(intervals, {k: v for k, v in chance.items() if k in intervals}, table, undefined, notes)


def judge_multilabel(
    images: Iterable[Array], vectors: Array, targets: np.ndarray, *, ids: Sequence[str], seed: int = 0
) -> Judgement:
    """Mean average precision of embeddings, in blocks `(rows, dim)`, against 0/1 `targets` (n, classes); bootstrap
    over samples."""
    scores = np.concatenate([as_numpy(class_logits(block, vectors)) for block in images])

    def mean_precision(counts: np.ndarray) -> np.ndarray:
        return np.asarray(average_precisions(scores, targets, weights=counts).mean(axis=1))

    interval = statistic_interval(mean_precision, n=len(targets), seed=seed)
    table = pa.table({"sample": list(ids), "labels": [np.flatnonzero(row).tolist() for row in targets]})
    return Judgement(
        {"mean_average_precision": interval},
        multilabel_chance(targets),
        table,
        notes={"classes_without_samples": int((targets.sum(axis=0) == 0).sum())},
    )


def judge_retrieval(
    images: Array,
    texts: Array,
    image_of_text: np.ndarray,
    *,
    image_ids: Sequence[str],
    text_ids: Sequence[str],
    ks: Sequence[int] = (1, 5, 10),
    seed: int = 0,
) -> Judgement:
    """Retrieval both ways. Intervals: bootstrap over images; the captions of an image stay together."""
    ranks = retrieval_ranks(images, texts, image_of_text)
    intervals: dict[str, Interval] = {}
    for k in ks:
        intervals[f"image_retrieval_recall@{k}"] = mean_interval(ranks.of_images < k, clusters=image_of_text, seed=seed)
        intervals[f"text_retrieval_recall@{k}"] = mean_interval(ranks.of_texts < k, seed=seed)
    table = pa.table(
        {
            "query": [*text_ids, *image_ids],
            "of": ["image"] * len(text_ids) + ["text"] * len(image_ids),
            "rank": pa.array(np.concatenate([ranks.of_images, ranks.of_texts])),
        }
    )
    chance = retrieval_chance(image_of_text, images=len(image_ids), ks=ks)
    return Judgement(intervals, chance, table, notes={"images": len(image_ids), "captions": len(text_ids)})
