"""An image that somebody sends: bounded in bytes and pixels before anything is decoded."""

from __future__ import annotations

from typing import Any

from structure.pipeline.datasets.decode_image import decode_alone, size
from structure.pipeline.datasets.decode_video import is_video
from structure.pipeline.datasets.tiff_facts import tiff_facts
from structure.store.errors import BadSampleError

MOST_BYTES = 32 * 2**20
MOST_PIXELS = 50_000_000
"""Of an upload: 150 MB as RGB. Files of a dataset may have more."""

ITEM = "the image"


def open_upload(data: bytes) -> Any:
    """The RGB image in `data`, upright. Raises BadSampleError for anything else and for more than `MOST_PIXELS`."""
    if is_video(data):
        raise BadSampleError(ITEM, "it is a video; send an image, such as one of its frames")
    facts = tiff_facts(data)
    for found in (size(data), facts.size if facts is not None else None):
        if found is not None and found[0] * found[1] > MOST_PIXELS:
            pixels = f"{found[0]} x {found[1]} = {found[0] * found[1]:,} pixels"
            raise BadSampleError(ITEM, f"it has {pixels}, at most {MOST_PIXELS:,} are read. Scale it down")
    return decode_alone(data, item=ITEM)
