"""What guessing gives: the level that stands beside every number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from structure.pipeline.metrics.matrices import Array, as_numpy


def classification_chance(classes: int) -> dict[str, float]:
    """A uniform guess among `classes`: `acc1` 1/C, `acc5` 5/C (NaN below five, like the metric), mean recall 1/C."""
    return {
        "acc1": 1 / classes,
        "acc5": 5 / classes if classes >= 5 else math.nan,
        "mean_per_class_recall": 1 / classes,
    }


def multilabel_chance(targets: Array) -> dict[str, float]:
    """Expected mean average precision of a random order, given 0/1 `targets` (n, class).

    One class with r positives among n: E[AP] = (H_n + (r-1)/(n-1) (n - H_n)) / n, H_n the harmonic number, since a
    positive at rank j expects 1 + (j-1)(r-1)/(n-1) positives up to it. A class without positives counts 0, as in
    the metric.
    """
    truth = as_numpy(targets).astype(bool)
    n = len(truth)
    positives = truth.sum(axis=0).astype(np.float64)
    return {"mean_average_precision": _expected_precision(positives, n)}


def retrieval_chance(image_of_text: Array, *, images: int, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Expected recall@k of a random order of the gallery.

    Captions look for one image among `images`: k/images. Images look for any of their p captions among all m:
    1 - C(m-p, k)/C(m, k), the hypergeometric chance that a draw of k meets at least one, averaged over the images.
    Beside them the expected average precision, and the median rank (from 1) of the best answer.
    """
    owner = as_numpy(image_of_text)
    captions = np.bincount(owner, minlength=images).astype(np.float64)
    m = len(owner)
    chance = {
        "image_retrieval_map": _expected_precision(np.ones(1), images),
        "text_retrieval_map": _expected_precision(captions, m),
        "image_retrieval_median_rank": (images + 1) / 2,
        "text_retrieval_median_rank": _median_best(captions, m),
    }
    for k in ks:
        chance[f"image_retrieval_recall@{k}"] = min(k, images) / images
        drawn = np.arange(min(k, len(owner)))
        missed = np.clip((len(owner) - captions[:, None] - drawn) / (len(owner) - drawn), 0, None).prod(axis=1)
        chance[f"text_retrieval_recall@{k}"] = float(1 - missed.mean())
    return chance


def selection_chance(images: np.ndarray, captions: np.ndarray) -> dict[str, float]:
    """Expected accuracies under random scores, given how many pictures and captions each group has.

    The first g = min(pictures, captions) of both belong together. Every caption finds its picture with 1/pictures,
    every picture its caption with 1/captions. Both at once: their product where g = 1, and 1/6 for two and two (the two
    right scores of four must be the highest); `acc` is left out where a group has another shape.
    """
    pairs = np.minimum(images, captions)
    image, text = (1.0 / images) ** pairs, (1.0 / captions) ** pairs
    both = np.where(pairs == 1, image * text, np.where((images == 2) & (captions == 2), 1 / 6, np.nan))
    found = {"image_acc": float(image.mean()), "text_acc": float(text.mean()), "acc": float(both.mean())}
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _expected_precision(positives: np.ndarray, n: int) -> float:
    """Mean over classes of the expected average precision of a random order of n; see `multilabel_chance`."""
    harmonic = (1 / np.arange(1, n + 1)).sum()
    expected = (harmonic + (positives - 1) / max(1, n - 1) * (n - harmonic)) / n
    return float(np.where(positives > 0, expected, 0.0).mean())


def _median_best(captions: np.ndarray, m: int) -> float:
    """The least rank r from 1 at which half of the queries, with `captions` answers among m, expect their best."""
    kinds, counts = np.unique(captions, return_counts=True)
    missed, r = counts.astype(np.float64), 0
    while missed.sum() > counts.sum() / 2:
        missed *= np.clip((m - kinds - r) / (m - r), 0, None)
        r += 1
    return float(r)
