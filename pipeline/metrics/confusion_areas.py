"""Label maps against label maps: areas per image, one confusion matrix, intersection over union."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from structure.pipeline.metrics.matrices import Array, as_numpy
from structure.pipeline.metrics.ratios import mean_over_known, ratio
from structure.store.errors import StructureError

Maps = Array | Sequence[Array]
"""One map (height, width), a stack (image, height, width), or a sequence of maps of different sizes."""


@dataclass(frozen=True)
class Areas:
    """Pixels per image and class, int64 `(image, class)`: true, predicted, both at once. Ignored pixels are left out.

    Sums over any choice of images give that choice's IoU, which is what a bootstrap over images needs.
    """

    true: np.ndarray
    predicted: np.ndarray
    both: np.ndarray

    def iou(self, weights: np.ndarray | None = None) -> np.ndarray:
        """IoU per class, TP / (TP + FP + FN) of all images together: float64 `(class,)`.

        NaN for a class in neither truth nor prediction, 0 for one predicted but never true. `weights`
        (replicate, image) takes each image that often and makes the result `(replicate, class)`.
        """
        # In float64, where BLAS multiplies and pixel counts up to 2^53 stay exact.
        taken = np.ones(len(self.true)) if weights is None else np.asarray(weights, dtype=np.float64)
        return ratio(taken @ self.both.astype(np.float64), taken @ self.union.astype(np.float64))

    @property
    def union(self) -> np.ndarray:
        """Pixels of a class in truth or prediction, int64 `(image, class)`."""
        return np.asarray(self.true + self.predicted - self.both)

    def miou(self, weights: np.ndarray | None = None, *, without: Sequence[int] = ()) -> np.ndarray:
        """Mean IoU over the classes that have one, 0-d or `(replicate,)`.

        `without` leaves classes out of the mean (a background class); their pixels still count as errors of the others.
        """
        return mean_over_known(np.delete(self.iou(weights), list(without), axis=-1))

    def pixel_accuracy(self) -> float:
        """Share of the pixels that are right, ignored ones left out."""
        return float(self.both.sum() / max(1, self.true.sum()))

    @classmethod
    def together(cls, parts: Sequence[Areas]) -> Areas:
        """The areas of several stacks of images, one after another."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("true", "predicted", "both")))


def segmentation_areas(prediction: Maps, target: Maps, *, classes: int, ignore: int = 255) -> Areas:
    """Areas per image of predicted and true label maps with ids in `[0, classes)`.

    Pixels whose true id is `ignore` count nowhere. An id outside the class list raises
    `StructureError` with the image and the id.
    """
    true, predicted, both = [], [], []
    for guess, truth in _pairs(prediction, target, classes=classes, ignore=ignore):
        true.append(np.bincount(truth, minlength=classes))
        predicted.append(np.bincount(guess, minlength=classes))
        both.append(np.bincount(truth[guess == truth], minlength=classes))
    return Areas(np.stack(true), np.stack(predicted), np.stack(both))


def confusion_matrix(prediction: Maps, target: Maps, *, classes: int, ignore: int = 255) -> np.ndarray:
    """`[true, predicted]` pixel counts over all images, int64 `(classes, classes)`, ignored pixels left out."""
    counts = np.zeros(classes * classes, dtype=np.int64)
    for guess, truth in _pairs(prediction, target, classes=classes, ignore=ignore):
        counts += np.bincount(truth * classes + guess, minlength=classes * classes)
    return counts.reshape(classes, classes)


def _pairs(prediction: Maps, target: Maps, *, classes: int, ignore: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pixels that count, image by image: predicted and true ids, int64 `(pixel,)` each."""
    guesses, truths = _maps(prediction), _maps(target)
    if len(guesses) != len(truths) or not len(truths):
        raise StructureError(f"{len(guesses)} predicted maps and {len(truths)} true ones cannot be compared.")
    for index, (one, other) in enumerate(zip(guesses, truths, strict=True)):
        guess, truth = as_numpy(one), as_numpy(other)
        if guess.shape != truth.shape:
            raise StructureError(
                f"Map {index}: predicted {guess.shape} and true {truth.shape} pixels. Resize the scores before argmax."
            )
        counted = truth != ignore
        guess, truth = guess[counted].astype(np.int64), truth[counted].astype(np.int64)
        for ids, side in ((guess, "predicted"), (truth, "true")):
            outside = ids[(ids < 0) | (ids >= classes)]
            if len(outside):
                raise StructureError(
                    f"Map {index}: {len(outside)} {side} pixels have ids outside the class list of {classes} names, "
                    f"for instance {outside[0]}. Only {ignore} in the true map is ignored."
                )
        yield guess, truth


def _maps(maps: Maps) -> Sequence[Array]:
    if isinstance(maps, (list, tuple)):
        return maps
    array: Array = maps  # type: ignore[assignment]
    return array[None] if array.ndim == 2 else array  # type: ignore[return-value]
