"""The four measures of zero-shot transfer, with CLIP_benchmark's names. Values are fractions, not percent.

Each is a reduction of a per-sample form that lives beside it: `predictions.Predictions`, `retrieval_ranks.Ranks`,
`average_precision.average_precisions`, `confusion_areas`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from structure.pipeline.metrics.average_precision import average_precisions
from structure.pipeline.metrics.confusion_areas import Maps, segmentation_areas
from structure.pipeline.metrics.matrices import Array
from structure.pipeline.metrics.predictions import predict
from structure.pipeline.metrics.retrieval_ranks import retrieval_ranks


def classification_metrics(logits: Array, labels: Array) -> dict[str, float]:
    """`{"acc1", "acc5", "mean_per_class_recall"}` of logits `(n, class)` and class indices `(n,)`.

    `acc5` is NaN below five classes. The mean recall is balanced accuracy: over the classes that occur in `labels`;
    absent ones are left out, not counted as 0. Equal logits: the lower class index comes first.
    """
    return predict(logits, labels).metrics()


def multilabel_metrics(scores: Array, targets: Array) -> dict[str, float]:
    """`{"mean_average_precision"}` of scores and 0/1 targets, both `(n, class)`.

    The mean is over all classes; one without positives counts 0, as in CLIP_benchmark. Equal scores share a threshold.
    """
    return {"mean_average_precision": float(average_precisions(scores, targets).mean())}


def retrieval_metrics(
    image_embeddings: Array, text_embeddings: Array, image_of_text: Array, *, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """`{"image_retrieval_recall@k", "text_retrieval_recall@k"}` by cosine of `(images, dim)` and `(captions, dim)`.

    Image retrieval: a caption finds its image among all images; mean over captions. Text retrieval: an image finds
    at least one of its captions among all captions; mean over images. `image_of_text` (captions,) is the image row of
    each caption. Equal cosines: the lower gallery index comes first. A k beyond the gallery gives 1.
    """
    return retrieval_ranks(image_embeddings, text_embeddings, image_of_text).metrics(ks)


def segmentation_metrics(
    prediction: Maps, target: Maps, *, classes: int, ignore: int = 255
) -> dict[str, float | np.ndarray]:
    """`{"miou", "iou"}` of label maps: one confusion over all images; `iou` is float64 `(classes,)`.

    NaN for a class in neither truth nor prediction, and such a class is left out of `miou`; 0 for a class predicted
    but never true.
    """
    areas = segmentation_areas(prediction, target, classes=classes, ignore=ignore)
    return {"miou": float(areas.miou()), "iou": areas.iou()}
