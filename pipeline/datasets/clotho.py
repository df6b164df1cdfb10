"""Clotho, audio clips with five captions each, in its own folder: `clotho`."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING

from structure.pipeline.datasets.captioned import Captioned, CaptionedKind, Photo
from structure.pipeline.datasets.dataset import AudioClip
from structure.pipeline.datasets.decode_audio import decode_audio
from structure.store.errors import StructureError, unknown

if TYPE_CHECKING:
    from PIL import Image

PARTS = {"train": "development", "val": "validation", "test": "evaluation"}
"""What Clotho calls its splits."""


class Clotho(Captioned):
    """Audio clips, read by audio encoders; ids are file names."""

    def image(self, index: int) -> Image.Image:
        raise StructureError("clotho pairs audio clips with captions: a vision encoder cannot read it.")

    def audio(self, index: int) -> AudioClip:
        return decode_audio(self.payload(index), item=self.ids[index], source=self.paths[index])


class ClothoKind(CaptionedKind):
    """Splits `train` (Clotho's development), `val` and `test` (its evaluation), from `clotho_captions_<part>.csv` and
    the folder of audio clips `<part>`."""

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> Clotho:
        """Raises `NotPresentError` for a table or a folder that is not there, `StructureError` for another kind of
        table."""
        entry, root, asked = self.entry, self.entry.root(data_root), split or self.default_split
        if asked not in PARTS:
            raise unknown("split of clotho", asked, PARTS)
        part = PARTS[asked]
        file = None if root is None else entry.file(root, asked)
        if root is None or file is None:
            raise entry.absent(data_root, f"split {asked} needs {' or '.join(entry.splits[asked])}")
        folder = entry.media_folder(root, part)
        if folder is None:
            raise entry.absent(data_root, f"the audio clips of {part} are not in {root}")
        items = read_clotho(file)
        return Clotho("clotho", asked, items, [os.path.join(folder, item.name) for item in items], source=file)


def read_clotho(file: Path) -> list[Photo]:
    """The rows of `file_name,caption_1,caption_2,...`. Raises `StructureError` for a table of another shape."""
    with file.open(encoding="utf-8-sig", newline="") as text:
        header, *rows = list(csv.reader(text)) or [[]]
    captions = [column for column, name in enumerate(header) if name.startswith("caption_")]
    if "file_name" not in header or not captions:
        raise StructureError(
            f"{file} has the columns {', '.join(header)}; Clotho's table has file_name and caption_1 to caption_5."
        )
    name = header.index("file_name")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise StructureError(f"{file}, line {number} has {len(row)} cells and its header {len(header)}.")
    return [Photo(row[name], tuple(row[column] for column in captions)) for row in rows]
