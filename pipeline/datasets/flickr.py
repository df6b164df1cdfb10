"""Flickr8k and Flickr30k in their usual folders: `flickr8k`, `flickr30k`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from structure.pipeline.datasets.captioned import Captioned, CaptionedKind, Photo, read_karpathy
from structure.pipeline.datasets.text_lines import read_lines
from structure.store.errors import StructureError, unknown


class FlickrKind(CaptionedKind):
    """Flickr8k: `train` (6,000), `val`, `test` (1,000 each) by Karpathy's file or the three lists that come with it,
    and `all`. Flickr30k: `train` (29,000), `val` (1,014), `test` (1,000, the paper's) by Karpathy's file, and `all`."""

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> Captioned:
        """Raises `NotPresentError` for a file or a folder of images that is not there."""
        entry, root = self.entry, self.entry.root(data_root)
        asked = (split or self.default_split).removeprefix("karpathy-")
        if asked not in entry.splits:
            raise unknown(f"split of {self.name}", asked, entry.splits)
        if root is None:
            raise entry.absent(data_root, "its folder is not there")
        file = entry.file(root, asked)
        if file is None:
            there = ", ".join(entry.present(data_root)) or "none"
            needed = " or ".join(entry.splits[asked])
            raise entry.absent(
                data_root, f"split {asked} needs {needed} in {root}, and the splits that are there are: {there}"
            )
        if file.suffix == ".json":
            photos = [photo for photo in read_karpathy(file) if asked in ("all", photo.split)]
        elif asked == "all":
            photos = read_captions(file)
        else:
            captions = entry.file(root, "all")
            if captions is None:
                raise entry.absent(data_root, f"no captions in {root} ({' or '.join(entry.splits['all'])})")
            photos = _listed(file, captions)
        folder = entry.media_folder(root)
        if folder is None:
            raise entry.absent(data_root, f"the images are not in {root} (folder {' or '.join(entry.media)})")
        paths = [os.path.join(folder, photo.name) for photo in photos]
        return Captioned(self.name, asked, photos, paths, source=file)


def read_captions(file: Path) -> list[Photo]:
    """Photos in order of first mention, from any of the forms in use:

    - `name.jpg#0<TAB>caption` (`Flickr8k.token.txt`, `results_20130124.token`),
    - `name.jpg| 0| caption` with a header line (`results.csv`; one published copy lacks the second bar in one row),
    - `image,caption` or `image_name,comment_number,comment` with a header line (`captions.txt`).

    Raises `StructureError` with the line for anything else.
    """
    try:
        lines = read_lines(file)
    except UnicodeDecodeError as error:
        raise StructureError(f"{file} is not UTF-8 text: {error}. Get the file again.") from None
    captions: dict[str, list[str]] = {}
    for number, name, caption in _token_rows(file, lines) if lines and "\t" in lines[0] else _table_rows(file, lines):
        if not name or not caption:
            raise StructureError(
                f"{file}, line {number} is not a file name with a caption: {lines[number - 1][:80]!r}."
            )
        captions.setdefault(name, []).append(caption)
    # Flickr8k's file calls one photo `...jpg.1`, which its lists and its folder call `...jpg`.
    called = {
        name: name if (plain := re.sub(r"(?<=\.jpg)\.[0-9]+$", "", name)) in captions else plain for name in captions
    }
    return [Photo(called[name], tuple(texts)) for name, texts in captions.items()]


def _token_rows(file: Path, lines: list[str]) -> list[tuple[int, str, str]]:
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            name, _, caption = line.partition("\t")
            rows.append((number, name.partition("#")[0].strip(), caption.strip()))
    return rows


def _table_rows(file: Path, lines: list[str]) -> list[tuple[int, str, str]]:
    rows = []
    if lines and "|" in lines[0]:
        for number, line in enumerate(lines[1:], start=2):
            if line.strip():
                found = re.fullmatch(r"([^|]+)\|\s*[0-9]+\s*\|?\s*(.*)", line)
                rows.append((number, found[1].strip(), found[2].strip()) if found else (number, "", ""))
        return rows
    width = len(lines[0].split(",")) if lines else 0
    for number, line in enumerate(lines[1:], start=2):
        if line.strip():
            rows.append((number, *_name_and_caption(line, width)))
    return rows


def _name_and_caption(line: str, width: int) -> tuple[str, str]:
    """First and last of `width` cells. The last one is the whole rest of the line: captions of these files have commas
    and quotation marks, and are in quotes in some copies alone."""
    between = rf"(?:\s*(?:{_QUOTED}|[^,]*),){{{max(0, width - 2)}}}"
    found = re.fullmatch(rf"({_QUOTED}|[^,]*),{between}(.*)", line, re.DOTALL)
    return (_unquoted(found[1]), _unquoted(found[2])) if found and width > 1 else ("", "")


_QUOTED = r'"(?:[^"]|"")*"'


def _unquoted(cell: str) -> str:
    cell = cell.strip()
    return cell[1:-1].replace('""', '"').strip() if re.fullmatch(_QUOTED, cell, re.DOTALL) else cell


def _listed(file: Path, captions: Path) -> list[Photo]:
    """The photos of a list of file names, one per line, with their captions from the other file."""
    known = {photo.name: photo for photo in read_captions(captions)}
    names = [line.strip() for line in read_lines(file) if line.strip()]
    return [known.get(name, Photo(name, ())) for name in names]
