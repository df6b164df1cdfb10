"""Rows of a `.json` file: a list of objects, Karpathy's form, or COCO's, of any data set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from structure.pipeline.datasets.captioned import Photo, photos_of_coco, photos_of_karpathy
from structure.store.errors import StructureError


def read_json_rows(file: Path, content: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and values of every row.

    Karpathy's form is `{"images": [{"filename", "split", "sentences": [{"raw"}]}]}`, COCO's `{"images": [{"id",
    "file_name"}], "annotations": [{"image_id", "caption"}]}`. Raises `StructureError` for any other.
    """
    try:
        loaded = json.loads(content)
    except (ValueError, RecursionError) as error:
        lines = " It looks like JSON Lines: rename it to .jsonl." if content.lstrip().startswith("{") else ""
        raise StructureError(f"{file} is not JSON: {error}.{lines}") from None
    if isinstance(loaded, list):
        yield from ((f"entry {number}", row) for number, row in enumerate(loaded, start=1))
        return
    images = loaded.get("images") if isinstance(loaded, dict) else None
    if isinstance(images, list) and isinstance(loaded.get("annotations"), list):
        yield from _photos(photos_of_coco(loaded, file))
    elif isinstance(images, list):
        yield from _photos(photos_of_karpathy(loaded, file))
    else:
        keys = ", ".join(map(str, list(loaded)[:6])) if isinstance(loaded, dict) else type(loaded).__name__
        raise StructureError(
            f"{file} is no table of pairs: it holds {keys}. It may be a list of objects with image and caption, or of "
            'the form of Karpathy ({"images": [{"filename", "split", "sentences"}]}) or of COCO ({"images", '
            '"annotations"}).'
        )


def _photos(photos: list[Photo]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, photo in enumerate(photos, start=1):
        row = {"image": "/".join(filter(None, (photo.folder, photo.name))), "captions": list(photo.captions)}
        yield f"image {number}", {**row, "split": photo.split} if photo.split else row
