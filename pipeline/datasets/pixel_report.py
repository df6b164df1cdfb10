"""What the pixels of a data set hold where its files do not say what they mean: ranges over all images, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from structure.pipeline.datasets.decode_image import deep_values
from structure.pipeline.datasets.deep_pixels import advice
from structure.pipeline.datasets.pixel_meaning import PixelMeaning, UnclearPixelsError, with_name

SAMPLED = 4096
"""Pixels of an image that take part in the percentiles over all images; the least and the greatest always do."""

CUT = 0.05
"""A share of the pixels beyond the window that is told."""


@dataclass(frozen=True)
class ImagePixels:
    """`values` of an image of more than 8 bits, a sample with the least and the greatest one; `unclear`: why the image
    cannot be read as it is."""

    id: str
    values: np.ndarray | None = None
    unclear: UnclearPixelsError | None = None


def sample_values(data: bytes, meaning: PixelMeaning) -> np.ndarray | None:
    """At most `SAMPLED` + 2 values of an image of more than 8 bits; None for any other."""
    values = deep_values(data, meaning)
    if values is None or not np.isfinite(values).all():
        return None
    flat = values.reshape(-1)
    some = flat[:: max(1, flat.size // SAMPLED)]
    return np.concatenate([some, [flat.min(), flat.max()]]).astype(flat.dtype)


def unclear_pixels_in_words(spec: str, images: Sequence[ImagePixels]) -> Iterator[tuple[int, str]]:
    """(how many images, what is unclear and what to type), once for grey values and once for each other fact."""
    unclear = [image for image in images if image.unclear is not None]
    grey = [image for image in unclear if image.values is not None]
    if grey:
        values = np.concatenate([image.values for image in grey if image.values is not None])
        low, high = np.percentile(values, (1, 99))
        yield (
            len(grey),
            f"{len(grey)} images have values from {values.min():,g} to {values.max():,g} (1st to 99th percentile "
            f"{low:,.6g} to {high:,.6g}), which have no agreed range: extraction waits until it is said. "
            f"{with_name(advice(values), spec)}.",
        )
    others: dict[str, list[ImagePixels]] = {}
    for image in unclear:
        if image.values is None and image.unclear is not None:
            others.setdefault(image.unclear.remedy, []).append(image)
    for remedy, same in others.items():
        fact = same[0].unclear.fact if same[0].unclear is not None else ""
        yield len(same), f"{len(same)} images, such as {same[0].id}: {fact}. {with_name(remedy, spec)}."


def cut_pixels_in_words(images: Sequence[ImagePixels], meaning: PixelMeaning) -> str:
    """How much of the data a window cuts off, where that is much; else ""."""
    parts = [image.values for image in images if image.values is not None and image.unclear is None]
    if meaning.window is None or not parts:
        return ""
    values = np.concatenate(parts)
    below, above = float((values < meaning.window[0]).mean()), float((values > meaning.window[1]).mean())
    if below + above <= CUT:
        return ""
    return (
        f"window={meaning.window[0]:g},{meaning.window[1]:g} makes {below:.0%} of the pixels black and {above:.0%} "
        f"white: values run from {values.min():,g} to {values.max():,g}"
    )
