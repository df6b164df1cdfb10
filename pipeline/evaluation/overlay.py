"""Overlays of a segmentation: the image, the true classes, the predicted ones, and what the colours mean."""

from __future__ import annotations

import base64
import colorsys
import io
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

IGNORE = 255
MOST_NAMED = 12
PANEL, GAP, LINE, COLUMNS = 280, 8, 20, 3
"""Pixels: width of an image, space between two, height of a line of text; images in a row."""

SCALE = 2.0
LONGEST = 38
"""Letters of a name that fit above an image or into a column of the legend."""


@dataclass(frozen=True, eq=False)
class Overlay:
    """`image` (height, width, 3) uint8, `truth` and `prediction` (height, width) int class ids; true 255 = ignored."""

    item: str
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray


def palette(classes: int) -> np.ndarray:
    """(classes, 3) uint8: hues a golden angle apart, in three shades, so that neighbours in the list differ."""
    shades = ((0.9, 0.95), (0.6, 0.8), (0.75, 0.6))
    rows = [colorsys.hsv_to_rgb(index * 0.381966 % 1, *shades[index % 3]) for index in range(classes)]
    return (np.array(rows) * 255).round().astype(np.uint8)


def draw_overlays(overlays: Sequence[Overlay], names: Sequence[str]) -> bytes:
    """A PNG, a row for each: image, truth, prediction. The legend names the classes with most pixels in truth and
    prediction. Names are in whatever script the machine has letters for."""
    import vl_convert  # draws texts with the fonts of the system, one after the other until one has the letter

    colours, size, parts, y = palette(len(names)), np.zeros(len(names), np.int64), list[str](), GAP
    for overlay in overlays:
        counted = overlay.truth != IGNORE
        prediction = np.where(counted, overlay.prediction, IGNORE)
        blends = (_blend(overlay.image, labels, colours) for labels in (overlay.truth, prediction))
        height = round(PANEL * overlay.image.shape[0] / overlay.image.shape[1])
        titles = (overlay.item, "true classes", "predicted classes")
        for column, (title, pixels) in enumerate(zip(titles, (overlay.image, *blends), strict=True)):
            x = GAP + column * (PANEL + GAP)
            parts += [_text(x, y + LINE - 7, title), _image(x, y + LINE, pixels, height)]
        for labels in (overlay.truth, overlay.prediction):
            size += np.bincount(labels[counted], minlength=len(names))
        y += LINE + height + GAP
    shown = [int(index) for index in np.argsort(-size, kind="stable") if size[index]]
    legend = list(_legend(shown, names, colours, y))
    height = y + -(-min(len(shown), MOST_NAMED) // COLUMNS) * LINE + (LINE if len(shown) > MOST_NAMED else 0) + GAP
    width = GAP + COLUMNS * (PANEL + GAP)
    body = "".join([f'<rect width="{width}" height="{height}" fill="white"/>', *parts, *legend])
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{body}</svg>'
    drawn: bytes = vl_convert.svg_to_png(svg, scale=SCALE)
    return drawn


def _legend(shown: Sequence[int], names: Sequence[str], colours: np.ndarray, top: int) -> Iterator[str]:
    """A square of its colour and the name of the first classes; how many more there are."""
    for number, index in enumerate(shown[:MOST_NAMED]):
        x, y = GAP + number % COLUMNS * (PANEL + GAP), top + number // COLUMNS * LINE
        red, green, blue = colours[index].tolist()
        yield f'<rect x="{x}" y="{y + 3}" width="14" height="14" fill="rgb({red},{green},{blue})"/>'
        yield _text(x + 20, y + LINE - 6, names[index])
    if len(shown) > MOST_NAMED:
        y = top + MOST_NAMED // COLUMNS * LINE + LINE - 6
        yield _text(GAP, y, f"and {len(shown) - MOST_NAMED} classes with fewer pixels")


def _text(x: int, y: int, words: str) -> str:
    """`words` as they are, what is no letter of XML left out, shortened where they would run into the next column."""
    printable = "".join(letter for letter in words if unicodedata.category(letter) not in ("Cc", "Cs", "Cn"))
    width = np.cumsum([2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in printable])
    if len(printable) and width[-1] > LONGEST:
        printable = printable[: int(np.searchsorted(width, LONGEST))] + "…"
    font = 'font-family="Arial, Liberation Sans, DejaVu Sans, sans-serif" font-size="13" fill="#222222"'
    return f'<text x="{x}" y="{y}" {font}>{escape(printable)}</text>'


def _image(x: int, y: int, pixels: np.ndarray, height: int) -> str:
    """The pixels scaled to a panel: enlarged with their edges, made smaller smoothly."""
    wide, high = round(PANEL * SCALE), round(height * SCALE)
    how = Image.Resampling.NEAREST if pixels.shape[1] <= wide else Image.Resampling.LANCZOS
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((wide, high), how).save(buffer, "png", compress_level=1)  # it is drawn, not saved
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<image x="{x}" y="{y}" width="{PANEL}" height="{height}" href="data:image/png;base64,{data}"/>'


def _blend(image: np.ndarray, labels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Classes in colour over the grey image; ignored pixels stay as they are."""
    known = labels != IGNORE
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    painted = 0.4 * grey + 0.6 * colours[np.where(known, labels, 0)]
    return np.where(known[..., None], painted, image).round().astype(np.uint8)
