"""Which images an encoder takes, by its number of input channels."""

from __future__ import annotations

from typing import Any

from structure.store.errors import StructureError


def image_mode(channels: int, *, name: str) -> str:
    """The mode that images are converted to: "RGB" for three channels, "L" for one, with the weights of ITU-R 601-2 as
    in Pillow. Raises StructureError for any other number: which image channel would be which is not known."""
    modes = {1: "L", 3: "RGB"}
    if channels not in modes:
        raise StructureError(
            f"{name} takes images of {channels} channels; images here are converted to 3 (colour) or 1 (grey), and "
            "nothing says what the others should hold. Extract features elsewhere and bring them in with "
            "`structure import`."
        )
    return modes[channels]


def in_mode(image: Any, mode: str) -> Any:
    """The PIL image in that mode; not copied where it has it, as `convert` would."""
    return image if image.mode == mode else image.convert(mode)
