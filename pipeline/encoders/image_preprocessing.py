"""How an image is resized and cropped for a vision encoder, where a model's name asks for other than its own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from structure.store.errors import StructureError, UsageError

IMAGE_OPTIONS = ("image_size", "crop_pct")


@dataclass(frozen=True)
class ImagePreprocessing:
    """`size`: side of the square that the encoder sees, in pixels. `crop`: the share of the resized image's shorter
    side that the centre crop keeps, 1 for none of it lost. None leaves each as the checkpoint states it."""

    size: int | None = None
    crop: float | None = None

    def __str__(self) -> str:
        options = [("image_size", self.size), ("crop_pct", self.crop)]
        return "&".join(f"{name}={value:g}" for name, value in options if value is not None)

    def __bool__(self) -> bool:
        return self != AS_STATED

    @property
    def suffix(self) -> str:
        """What tells features of this preprocessing apart from others in a name: `-160px-crop1`."""
        return (f"-{self.size}px" if self.size else "") + (f"-crop{self.crop:g}" if self.crop else "")

    def of_processor(self, processor: Any, *, name: str) -> dict[str, Any]:
        """The arguments that make a Hugging Face image processor do this.

        Raises StructureError for a crop asked of a processor that resizes the whole image to a square.
        """
        size, crop = dict(processor.size), getattr(processor, "crop_size", None)
        edge = size.get("shortest_edge", size.get("height"))
        if not (getattr(processor, "do_center_crop", False) and crop):
            if self.crop not in (None, 1.0):
                raise StructureError(
                    f"{name} resizes whole images to {edge} pixels and crops nothing; crop_pct={self.crop:g} has no "
                    "meaning there. Leave it out."
                )
            side = self.size or edge
            return {"size": {"height": side, "width": side}}
        seen = self.size or dict(crop)["height"]
        share = self.crop or dict(crop)["height"] / edge
        return {"size": {"shortest_edge": round(seen / share)}, "crop_size": {"height": seen, "width": seen}}


AS_STATED = ImagePreprocessing()


def read_image_preprocessing(options: Mapping[str, str], *, spec: str) -> ImagePreprocessing:
    """`{"image_size": "160", "crop_pct": "1"}` as a value. Raises UsageError for a number out of range."""
    numbers: dict[str, float] = {}
    for name in IMAGE_OPTIONS:
        try:
            numbers |= {name: float(options[name])} if name in options else {}
        except ValueError:
            raise UsageError(f"{spec!r}: {name} is {options[name]!r}; it must be a number.") from None
    size, crop = numbers.get("image_size"), numbers.get("crop_pct")
    if size is not None and not (size == int(size) and 16 <= size <= 4096):
        raise UsageError(f"{spec!r}: image_size is {size:g}; it is a whole number of pixels from 16 to 4096.")
    if crop is not None and not 0 < crop <= 1:
        raise UsageError(f"{spec!r}: crop_pct is {crop:g}; it is a fraction above 0 and at most 1.")
    return ImagePreprocessing(None if size is None else int(size), crop)
