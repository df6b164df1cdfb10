"""Held-out recall of a closed form over its number of training pairs, measured on subsets of pairs that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from structure.pipeline.device import cores, one_thread, side_by_side
from structure.pipeline.forecast.kernel_csa_recall import cosines_of, held_out_recall
from structure.pipeline.model_selection.folds import assign_folds, draw_rows

K = 10
"""Of recall@k."""

SIZES = (30, 50, 70, 100, 140, 200, 300, 450)
"""Numbers of training pairs that are tried; where a fold leaves fewer, all that it leaves is the last."""

FOLDS = 3
"""Held-out sets; each is the same for every size."""

DRAWN_TWICE = 140
"""Sizes up to which two subsets of each fold are tried: of few pairs it matters more which they are."""

LARGE = 1000
"""Tried once, where a fold leaves more: a fit takes as long as all others together."""

LARGEST_GALLERY = 500
"""Held-out pairs of a fold at most."""

LEAST_PAIRS = 90
"""Of fewer pairs 10 are a third of a held-out set or more: recall@10 would say nothing."""

MOST_PAIRS = FOLDS * LARGEST_GALLERY
"""Pairs that take part."""


@dataclass(frozen=True)
class CurvePoint:
    """`recalls` (fits,): recall@10, the mean of both directions, of each fit to `pairs` training pairs."""

    pairs: int
    recalls: np.ndarray

    @property
    def recall(self) -> float:
        """Their mean."""
        return float(self.recalls.mean())


@dataclass(frozen=True)
class LearningCurve:
    """Points by ascending number of pairs; every fit retrieves among `gallery` held-out pairs."""

    points: tuple[CurvePoint, ...]
    gallery: int


def fits_of(fold: int, most: int) -> Iterator[tuple[int, int]]:
    """(training pairs, which subset of them) of every fit beside held-out set `fold`, where it leaves `most` pairs."""
    last = min(most, SIZES[-1])
    for size in (*(size for size in SIZES if size < 0.8 * last), last):
        for draw in range(2 if size <= DRAWN_TWICE and size < most else 1):
            yield size, draw
    if fold == 0 and most >= LARGE:
        yield LARGE, 0


def training_sizes(pairs: int) -> list[int]:
    """Training pairs of every fit of a curve of so many pairs, none where they are too few."""
    if pairs < LEAST_PAIRS:
        return []
    most = (pairs := min(pairs, MOST_PAIRS)) - -(-pairs // FOLDS)
    return [size for fold in range(FOLDS) for size, _ in fits_of(fold, most)]


def measure_curve(
    vision: np.ndarray,
    text: np.ndarray,
    groups: np.ndarray,
    *,
    seed: int,
    on_fit: Callable[[int], None] = lambda done: None,
) -> LearningCurve:
    """The curve of features (n, dv) and (n, dt) that pair. Rows of one of `groups` (n,) are on one side of each fold,
    and a smaller subset is part of a larger one. Raises StructureError for fewer groups than folds.
    """
    fold_of = assign_folds(groups, folds=FOLDS, seed=seed)
    sizes = np.bincount(fold_of)
    gallery, most = min(int(sizes.min()), LARGEST_GALLERY), len(groups) - int(sizes.max())

    def recall(fit: tuple[int, int, int]) -> float:
        fold, size, draw = fit
        test = draw_rows(np.flatnonzero(fold_of == fold), groups, gallery, seed=seed)[:gallery]
        rows = draw_rows(np.flatnonzero(fold_of != fold), groups, size, seed=seed + 1 + draw)
        return held_out_recall(cosines, rows, test, k=K)

    fits = [(fold, size, draw) for fold in range(FOLDS) for size, draw in fits_of(fold, most)]
    found: dict[int, list[float]] = {}
    at_once = cores()
    with one_thread():  # matrices are small: threads wait for each other longer than they compute
        cosines = cosines_of(vision, text)
        recalls = side_by_side(recall, fits, at_once=at_once)
        for done, ((_, size, _), value) in enumerate(zip(fits, recalls, strict=True), 1):
            found.setdefault(size, []).append(value)
            on_fit(done)
    return LearningCurve(tuple(CurvePoint(size, np.array(found[size])) for size in sorted(found)), gallery)
