"""What part of an image an encoder's preprocessing shows, found by showing it images; saved in the store."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import Image

from structure.pipeline.datasets.windows import Frame
from structure.pipeline.extraction.stored_or_extracted import EncoderRecord, FeatureSource
from structure.store import Store
from structure.store.errors import StructureError
from structure.store.fingerprint import fingerprint
from structure.store.seals import Seal, SealError, read_json

PROBE = 1024
"""Side of the probing images in pixels."""


def frame_of(store: Store, source: FeatureSource, record: EncoderRecord) -> Frame:
    """The frame of an encoder that features were made with. It is loaded the first time only."""
    key = f"frames/{fingerprint(record.identity)[:16]}.json"
    with suppress(FileNotFoundError, SealError, KeyError, TypeError):  # a damaged one is found again
        kept = read_json(store.files, key)
        return Frame(tuple(kept["side"]), tuple(kept["outer"]))
    frame = find_frame(source.encoder(record).preprocess, name=record.name)
    body = {"side": frame.side, "outer": frame.outer, "encoder": record.name}
    if store.files.writable:
        store.files.write(key, Seal(key).json(body))
    return frame


def find_frame(preprocess: Callable[[Any], Any], *, name: str) -> Frame:
    """The size that `preprocess` resizes to and the central size that it keeps, from what it makes of a square ramp.

    Black and white images give each channel's scale, so that a ramp's values of the output say which part of the
    input they come from. Raises `StructureError` where a framed image does not come out as its window: a
    preprocessing that does more than resize, crop and scale cannot be undone.
    """
    black, white = (_grey(preprocess(Image.new("RGB", (PROBE, PROBE), value))) for value in ("black", "white"))
    side = (int(black.shape[0]), int(black.shape[1]))
    ramp = np.broadcast_to(np.linspace(0, 255, PROBE), (PROBE, PROBE)).round().astype(np.uint8)
    shown = []
    for values, axis in ((ramp.T, 0), (ramp, 1)):
        picture = Image.fromarray(np.ascontiguousarray(values)).convert("RGB")
        light = ((_grey(preprocess(picture)) - black) / (white - black)).mean(axis=1 - axis)
        middle = light[len(light) // 4 : -(len(light) // 4) or None]
        slope = np.polyfit(np.arange(len(middle)), middle, 1)[0]  # share of the image that one output pixel covers
        shown.append(slope)
    outer = tuple(max(side[axis], round(1 / shown[axis])) for axis in (0, 1))
    for more in ((0, 0), (1, 1), (-1, -1), (1, 0), (0, 1), (-1, 0), (0, -1)):
        tried = Frame(side, (max(side[0], outer[0] + more[0]), max(side[1], outer[1] + more[1])))
        if _passes(preprocess, tried, black, white):
            return tried
    raise StructureError(
        f"The preprocessing of {name} keeps {side[0]} x {side[1]} of an image resized to about {outer[0]} x "
        f"{outer[1]}, but changes it further: patches cannot be placed on the image. Segment with an encoder that "
        "resizes, crops and scales."
    )


def _passes(preprocess: Callable[[Any], Any], frame: Frame, black: np.ndarray, white: np.ndarray) -> bool:
    """Whether a window of noise in its frame comes out pixel by pixel."""
    noise = np.random.default_rng(0).integers(0, 256, frame.side, dtype=np.uint8)
    framed = Image.new("RGB", frame.outer[::-1])
    top, left = frame.margin
    framed.paste(Image.fromarray(noise).convert("RGB"), (left, top))
    light = (_grey(preprocess(framed)) - black) / (white - black)
    return bool(np.abs(light * 255 - noise).max() < 1.0)


def _grey(pixels: Any) -> np.ndarray:
    """`(3, height, width)` tensor to the mean of its channels, float64."""
    grey: np.ndarray = np.asarray(pixels, dtype=np.float64).mean(axis=0)
    return grey
