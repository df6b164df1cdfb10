"""Pictures of a segmentation: the photo, the true classes, the predicted ones, and what the colours mean."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from structure.pipeline.figures import new_figure, png

IGNORE = 255
MOST_NAMED = 12


@dataclass(frozen=True, eq=False)
class Overlay:
    """`picture` (height, width, 3) uint8, `truth` and `guess` (height, width) int class ids; true 255 = ignored."""

    item: str
    picture: np.ndarray
    truth: np.ndarray
    guess: np.ndarray


def palette(classes: int) -> np.ndarray:
    """(classes, 3) uint8: hues a golden angle apart, in three shades, so that neighbours in the list differ."""
    shades = ((0.9, 0.95), (0.6, 0.8), (0.75, 0.6))
    rows = [colorsys.hsv_to_rgb(index * 0.381966 % 1, *shades[index % 3]) for index in range(classes)]
    return (np.array(rows) * 255).round().astype(np.uint8)


def draw_overlays(overlays: Sequence[Overlay], names: Sequence[str]) -> bytes:
    """A PNG, a row a picture: photo, truth, prediction. The legend names the classes with most pixels in truth and
    prediction. Names are drawn as they are: what looks like mathematical markup is not read as such."""
    from matplotlib.patches import Patch

    colours = palette(len(names))
    figure = new_figure(width=7.2, height=2.4 * len(overlays) + 0.6)
    size = np.zeros(len(names), np.int64)
    for row, overlay in zip(figure.subplots(len(overlays), 3, squeeze=False), overlays, strict=True):
        counted = overlay.truth != IGNORE
        guess = np.where(counted, overlay.guess, IGNORE)
        panels = overlay.picture, *(_blend(overlay.picture, part, colours) for part in (overlay.truth, guess))
        for axes, title, shown in zip(row, (overlay.item, "truth", "prediction"), panels, strict=True):
            axes.imshow(shown, interpolation="nearest")
            axes.set_title(title, fontsize=7, parse_math=False)
            axes.set_axis_off()
        for part in (overlay.truth, overlay.guess):
            size += np.bincount(part[counted], minlength=len(names))
    most = [int(index) for index in np.argsort(-size, kind="stable")[:MOST_NAMED] if size[index]]
    patches = [Patch(color=colours[index] / 255, label=names[index]) for index in most]
    legend = figure.legend(handles=patches, loc="outside lower center", ncols=6, fontsize=6, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return png(figure)


def _blend(picture: np.ndarray, labels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Classes in colour over the grey picture; ignored pixels stay as they are."""
    known = labels != IGNORE
    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    painted = 0.4 * grey + 0.6 * colours[np.where(known, labels, 0)]
    return np.where(known[..., None], painted, picture).round().astype(np.uint8)
