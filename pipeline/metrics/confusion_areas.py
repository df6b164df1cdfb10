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

COUNTS_AT_ONCE = 1 << 20
"""Cells (image x true class x predicted class) that are counted at one time: 8 MiB."""


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
    parts = [
        Areas(counts.sum(axis=2), counts.sum(axis=1), counts.diagonal(axis1=1, axis2=2))
        for counts in _counts(prediction, target, classes=classes, ignore=ignore)
    ]
    return Areas.together(parts)


def confusion_matrix(prediction: Maps, target: Maps, *, classes: int, ignore: int = 255) -> np.ndarray:
    """`[true, predicted]` pixel counts over all images, int64 `(classes, classes)`, ignored pixels left out."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    for part in _counts(prediction, target, classes=classes, ignore=ignore):
        counts += part.sum(axis=0)
    return counts


def _counts(prediction: Maps, target: Maps, *, classes: int, ignore: int) -> Iterator[np.ndarray]:
    """Some images at a time: int64 `(image, true, predicted)` numbers of the pixels that count."""
    guesses, truths = _stacks(prediction), _stacks(target)
    if sum(map(len, guesses)) != sum(map(len, truths)) or not truths:
        sizes = (sum(map(len, side)) for side in (guesses, truths))
        raise StructureError("{} predicted maps and {} true ones cannot be compared.".format(*sizes))
    first, step = 0, max(1, COUNTS_AT_ONCE // ((classes + 1) * classes))
    for guess, truth in zip(guesses, truths, strict=True):
        if guess.shape != truth.shape:
            raise StructureError(
                f"Map {first}: predicted {guess.shape[1:]} and true {truth.shape[1:]} pixels. Resize the scores before "
                "argmax."
            )
        for start in range(0, len(truth), step):
            some = slice(start, start + step)
            yield _joint(guess[some], truth[some], classes=classes, ignore=ignore, first=first + start)
        first += len(truth)


def _joint(guess: np.ndarray, truth: np.ndarray, *, classes: int, ignore: int, first: int) -> np.ndarray:
    """`_counts` of a stack of maps `(image, height, width)`, of which the first has this number."""
    counted = (truth != ignore).reshape(len(truth), -1)
    chosen = slice(None) if counted.all() else np.flatnonzero(counted)
    own, said = truth.reshape(-1)[chosen], guess.reshape(-1)[chosen]
    image = np.repeat(np.arange(len(truth)), np.count_nonzero(counted, axis=1))
    for ids, side in ((said, "predicted"), (own, "true")):
        outside = (ids < 0) | (ids >= classes)
        if outside.any():
            at = int(image[outside.argmax()])
            wrong = ids[outside & (image == at)]
            raise StructureError(
                f"Map {first + at}: {len(wrong)} {side} pixels have ids outside the class list of {classes} names, "
                f"for instance {wrong[0]}. Only {ignore} in the true map is ignored."
            )
    image *= classes
    image += own
    image *= classes
    image += said
    counts = np.bincount(image, minlength=len(truth) * classes * classes)
    return counts.reshape(len(truth), classes, classes)


def _stacks(maps: Maps) -> list[np.ndarray]:
    """The maps as stacks `(image, height, width)`: those of a sequence alone, as each may have its size."""
    if isinstance(maps, (list, tuple)):
        return [as_numpy(one)[None] for one in maps]
    array = as_numpy(maps)  # type: ignore[arg-type]
    return [array[None] if array.ndim == 2 else array]
