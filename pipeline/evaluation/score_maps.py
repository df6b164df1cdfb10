"""From scores of patches to a class for every pixel: bilinear upsampling, overlapping windows, argmax."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from structure.pipeline.datasets.windows import Windows
from structure.pipeline.metrics.matrices import Array, as_tensor

IN_CACHE = 1 << 18
"""Upsampled scores of many images that are made and compared at a time: 1 MiB, which stays in a processor's cache."""

PIXELS_AT_ONCE = 1 << 24
"""Upsampled scores (class x pixel) held at one time: 64 MiB in float32, whatever the number of classes."""


def upsample(scores: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """`(class, height, width)` to `size`, bilinear: half-pixel centres (align_corners False), edges clamped."""
    return F.interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]


def label_map(windows: Sequence[Array], plan: Windows, *, grid: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The class of every pixel, `size` int64: argmax over classes of the upsampled scores; ties go to the lower class.

    `windows`: `(patch, class)` scores of each window of `plan`, patches row by row in `grid`. One window that is the
    whole image is upsampled from its grid to `size` in one step. Several are upsampled to their pixels, averaged
    where they overlap in the resized image, and that is upsampled to `size`.
    """
    maps = [as_tensor(scores).T.reshape(-1, *grid) for scores in windows]
    classes = len(maps[0])
    step = max(1, PIXELS_AT_ONCE // max(size[0] * size[1], plan.size[0] * plan.size[1]))
    best = torch.full(size, -torch.inf, dtype=maps[0].dtype)
    label = torch.zeros(size, dtype=torch.int64)
    for start in range(0, classes, step):
        part = [scores[start : start + step] for scores in maps]
        whole = part[0] if len(part) == 1 else _merged(part, plan)
        top, where = upsample(whole, size).max(dim=0)
        better = top > best
        best = torch.where(better, top, best)
        label = torch.where(better, where + start, label)
    labels: np.ndarray = label.numpy()
    return labels


def whole_label_maps(scores: np.ndarray, *, grid: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """`label_map` of many images of one size that are one window each, a few at a time.

    `(picture, patch, class)` scores -> `(picture, *size)` of the smallest integers that hold a class."""
    maps = as_tensor(scores).transpose(1, 2).reshape(len(scores), -1, *grid)
    classes = maps.shape[1]
    labels = np.zeros((len(maps), *size), np.min_scalar_type(classes - 1))
    step = max(1, IN_CACHE // (classes * size[0] * size[1]))
    for start in range(0, len(maps), step):
        some = F.interpolate(maps[start : start + step], size=size, mode="bilinear", align_corners=False).numpy()
        _best_class(some, out=labels[start : start + step])
    return labels


def _best_class(scores: np.ndarray, *, out: np.ndarray) -> None:
    """The class of the greatest of `(picture, class, height, width)` scores, the first of equal ones, into zeros
    `(picture, height, width)`: class by class, which is several times faster than a search along an axis."""
    best = scores[:, 0].copy()
    better = np.empty(best.shape, bool)
    for number in range(1, scores.shape[1]):
        own = scores[:, number]
        np.greater(own, best, out=better)
        np.maximum(best, own, out=best)
        np.maximum(out, better * out.dtype.type(number), out=out)


def _merged(maps: Sequence[torch.Tensor], plan: Windows) -> torch.Tensor:
    total = torch.zeros(len(maps[0]), *plan.size, dtype=maps[0].dtype)
    count = torch.zeros(plan.size, dtype=maps[0].dtype)
    down, right = plan.side
    for scores, (top, left) in zip(maps, plan.corners, strict=True):
        total[:, top : top + down, left : left + right] += upsample(scores, plan.side)
        count[top : top + down, left : left + right] += 1
    return total / count
