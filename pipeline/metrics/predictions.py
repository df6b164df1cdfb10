"""What a classifier said of every sample: its five best classes and the rank of the true one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from structure.pipeline.metrics.matrices import SCORES_AT_ONCE, Array, as_labels, as_numpy, as_scores, blocks, unit_rows
from structure.pipeline.metrics.zero_shot_classifier import LOGIT_SCALE
from structure.store.errors import StructureError

DEPTH = 5


@dataclass(frozen=True)
class Predictions:
    """One row a sample, in the order of the samples.

    `top` (n, min(5, classes)) int32 class indices, best first; `scores` float32 beside them; `ranks` (n,) int32, the
    rank of the true class with 0 = right; `labels` (n,) int64; `classes` how many there are to choose from.
    Order: score descending, then class index ascending, so equal scores give the same answer everywhere.
    """

    top: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    labels: np.ndarray
    classes: int

    def hits(self, k: int) -> np.ndarray:
        """(n,) bool: the true class is among the k best."""
        return np.asarray(self.ranks < k)

    def class_sizes(self) -> np.ndarray:
        """(classes,) int64: samples per true class; 0 marks a class that no sample has."""
        return np.bincount(self.labels, minlength=self.classes)

    def class_recalls(self) -> np.ndarray:
        """(classes,) float64: share of each class's samples that are right; NaN for a class without samples."""
        sizes = self.class_sizes()
        right = np.bincount(self.labels[self.ranks == 0], minlength=self.classes)
        return np.asarray(np.divide(right, sizes, out=np.full(self.classes, np.nan), where=sizes > 0))

    def confusion(self) -> np.ndarray:
        """(classes, classes) int64: `[true, predicted]` counts of the best class."""
        flat = self.labels * self.classes + self.top[:, 0]
        return np.bincount(flat, minlength=self.classes**2).reshape(self.classes, self.classes)

    def metrics(self) -> dict[str, float]:
        """`acc1`, `acc5` (NaN below five classes) and `mean_per_class_recall` over the classes that occur."""
        recalls = self.class_recalls()
        return {
            "acc1": float(self.hits(1).mean()),
            "acc5": float(self.hits(DEPTH).mean()) if self.classes >= DEPTH else math.nan,
            "mean_per_class_recall": float(recalls[~np.isnan(recalls)].mean()),
        }


def predict(logits: Array, labels: Array, *, at_once: int = SCORES_AT_ONCE) -> Predictions:
    """Judge ready scores `(n, classes)` against class indices `(n,)`."""
    scores = as_scores(logits, name="logits")
    truth = as_labels(labels, rows=len(scores), classes=scores.shape[1])
    parts = [_judge(scores[rows], truth[rows]) for rows in blocks(*scores.shape, at_once=at_once)]
    return _joined(parts, truth, scores.shape[1])


def classify(images: Array, vectors: Array, labels: Array, *, at_once: int = SCORES_AT_ONCE) -> Predictions:
    """Judge image embeddings `(n, dim)` by class vectors `(classes, dim)`: 100 x cosine, a block of images at a time.

    The whole `(n, classes)` matrix never exists. Both sides may be raw; they are brought to unit length here.
    """
    return classify_blocks([images], vectors, labels, at_once=at_once)


def classify_blocks(
    blocks_of_images: Iterable[Array], vectors: Array, labels: Array, *, at_once: int = SCORES_AT_ONCE
) -> Predictions:
    """`classify` of images that come in blocks `(rows, dim)`; `labels` (n,) are those of all, -1 = not judged."""
    weights = unit_rows(vectors, name="class vectors").T
    marks = as_numpy(labels)
    asked = marks >= 0
    truth = as_labels(marks[asked], rows=int(asked.sum()), classes=weights.shape[1])
    parts: list[Part] = []
    waiting: list[torch.Tensor] = []
    seen = done = 0

    def judge_waiting() -> None:
        nonlocal done
        scores = torch.cat(waiting)
        parts.append(_judge(scores, truth[done : done + len(scores)]))
        done += len(scores)
        waiting.clear()

    for images in blocks_of_images:
        judged = np.flatnonzero(asked[seen : seen + len(images)])
        for rows in blocks(len(judged), weights.shape[1], at_once=at_once):
            unit = unit_rows(images[judged[rows]], name="image embeddings", first=seen + rows.start).to(weights)
            waiting.append(LOGIT_SCALE * unit @ weights)
            if sum(map(torch.numel, waiting)) >= at_once:
                judge_waiting()
        seen += len(images)
    if waiting:
        judge_waiting()
    if seen != len(marks):
        raise StructureError(
            f"{seen} rows of scores but {len(marks)} labels: a row without its label cannot be judged."
        )
    return _joined(parts, truth, weights.shape[1])


Part = tuple[np.ndarray, np.ndarray, np.ndarray]


def _judge(scores: torch.Tensor, labels: torch.Tensor) -> Part:
    labels = labels.to(scores.device)[:, None]
    true = scores.gather(1, labels)
    ranks = torch.count_nonzero(scores > true, dim=1)
    columns = torch.arange(scores.shape[1], device=scores.device)
    ranks += torch.count_nonzero((scores == true) & (columns < labels), dim=1)
    # topk leaves the order of equal scores open; argmax is documented to return the first maximum.
    left = scores.clone()
    best = []
    for _ in range(min(DEPTH, scores.shape[1])):
        best.append(left.argmax(dim=1, keepdim=True))
        left.scatter_(1, best[-1], -torch.inf)
    top = torch.cat(best, dim=1)
    return top.int().cpu().numpy(), scores.gather(1, top).float().cpu().numpy(), ranks.int().cpu().numpy()


def _joined(parts: list[Part], labels: torch.Tensor, classes: int) -> Predictions:
    if not parts:
        raise StructureError("There is no sample to classify: 0 rows of scores. Check the split and the limit.")
    top, scores, ranks = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Predictions(top, scores, ranks, labels.numpy(), classes)
