"""What guessing gives: the level that stands beside every number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from structure.pipeline.suites.rows import Array, as_numpy


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
    harmonic = (1 / np.arange(1, n + 1)).sum()
    expected = (harmonic + (positives - 1) / max(1, n - 1) * (n - harmonic)) / n
    return {"mean_average_precision": float(np.where(positives > 0, expected, 0.0).mean())}


def retrieval_chance(image_of_text: Array, *, images: int, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Expected recall@k of a random order of the gallery.

    Captions look for one image among `images`: k/images. Images look for any of their p captions among all m:
    1 - C(m-p, k)/C(m, k), the hypergeometric chance that a draw of k meets at least one, averaged over the images.
    """
    owner = as_numpy(image_of_text)
    captions = np.bincount(owner, minlength=images).astype(np.float64)
    chance: dict[str, float] = {}
    for k in ks:
        chance[f"image_retrieval_recall@{k}"] = min(k, images) / images
        drawn = np.arange(min(k, len(owner)))
        missed = np.clip((len(owner) - captions[:, None] - drawn) / (len(owner) - drawn), 0, None).prod(axis=1)
        chance[f"text_retrieval_recall@{k}"] = float(1 - missed.mean())
    return chance
