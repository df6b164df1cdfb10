"""From areas per image to mIoU and pixel accuracy with intervals, chance, and a row for every image and class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from structure.pipeline.metrics.answers import SegmentationAnswers
from structure.pipeline.metrics.confusion_areas import Areas
from structure.pipeline.metrics.metric import AnyMetric
from structure.pipeline.metrics.ratios import ratio
from structure.pipeline.metrics.registry import evaluated_metrics
from structure.pipeline.metrics.score import TaskScores, score_metrics
from structure.store.errors import StructureError


def score_segmentation(
    areas: Areas,
    *,
    ids: Sequence[str],
    classes: Sequence[str],
    without: Sequence[int] = (),
    metrics: Sequence[AnyMetric] = (),
    seed: int = 0,
) -> TaskScores:
    """mIoU over the classes in truth or prediction (`without` some: a background left out of the mean), and pixel
    accuracy. Intervals: bootstrap over images. `classes` are the names in the order of the label ids.

    Beside chance (a uniform guess for every pixel) stands what calling every pixel by the most frequent class gives.
    """
    if not areas.true.any():
        raise StructureError("No pixel of the masks counts: there is nothing to evaluate. Are all of them ignored?")
    iou, image_iou = areas.iou(), ratio(areas.both.astype(np.float64), areas.union.astype(np.float64))
    known = np.delete(image_iou, list(without), axis=1)
    counted = (~np.isnan(known)).sum(axis=1)
    means = np.divide(np.nansum(known, axis=1), counted, out=np.full(len(ids), np.nan), where=counted > 0)
    pixels = areas.true.sum(axis=1)
    left_out = np.broadcast_to(np.isin(np.arange(len(classes)), list(without)), areas.both.shape)
    samples = pa.table(
        {
            "sample": list(ids),
            "pixels": pa.array(pixels),
            "pixel_accuracy": pa.array(areas.both.sum(axis=1) / np.maximum(1, pixels)),
            "miou": pa.array(means),
            "iou": _lists(image_iou, np.isnan(image_iou)),
            "correct": pa.array(areas.both.sum(axis=1)),
            "intersection": _lists(areas.both, left_out),
            "union": _lists(areas.union, left_out),
        }
    )
    share = areas.true.sum(axis=0) / areas.true.sum()
    notes = {
        "classes_without_samples": int((areas.true.sum(axis=0) == 0).sum()),
        "left_out_of_the_mean": [classes[index] for index in without],
        "iou": {name: None if np.isnan(value) else float(value) for name, value in zip(classes, iou, strict=True)},
        "most_frequent_class": majority(share, classes, without=without),
    }
    metrics = metrics or evaluated_metrics("segmentation")
    return score_metrics(SegmentationAnswers(samples, None, areas, without), metrics, seed=seed, notes=notes)


def _lists(numbers: np.ndarray, unknown: np.ndarray) -> pa.ListArray:
    """(image, class) numbers as one list an image, null where they are unknown."""
    ends = np.arange(len(numbers) + 1, dtype=np.int32) * numbers.shape[1]
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(numbers.ravel(), mask=unknown.ravel()))


def majority(share: np.ndarray, classes: Sequence[str], *, without: Sequence[int] = ()) -> dict[str, float | str]:
    """What the most frequent class for every pixel gives: its share, and that share over the classes that occur."""
    first = int(share.argmax())
    iou = np.where(share > 0, 0.0, np.nan)
    iou[first] = share[first]
    counted = np.delete(iou, list(without))
    return {"class": classes[first], "miou": float(np.nanmean(counted)), "pixel_accuracy": float(share[first])}
