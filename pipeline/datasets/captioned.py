"""Captioned photo collections: COCO, Flickr8k and Flickr30k once their annotation files are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structure.pipeline.datasets.catalogue import DatasetEntry, entries
from structure.pipeline.datasets.dataset import Item, Task, within
from structure.pipeline.datasets.download import fetch_all
from structure.pipeline.datasets.image_files import ImageFiles
from structure.pipeline.datasets.kind import DatasetKind, Got, Listing
from structure.pipeline.progress import Listener
from structure.store.errors import BadSampleError, StructureError


@dataclass(frozen=True)
class Photo:
    """A file's name (its id), the captions as annotated, and where an annotation file says: its folder and split."""

    name: str
    captions: tuple[str, ...]
    folder: str = ""
    split: str = ""


class Captioned(ImageFiles):
    """Photos with several captions each. Ids are file names; captions lose white space at their ends.

    A photo without caption or with an empty one is a `BadSampleError` when it is read.
    """

    kind = "retrieval"
    tasks: Mapping[str, Task] = {}

    def __init__(self, name: str, split: str, photos: Sequence[Photo], paths: Sequence[str], *, source: Path) -> None:
        self.name, self.split, self.source = name, split, source
        if not photos:
            raise StructureError(f"{source} has 0 photos of {name} split {split}; a dataset has 1 or more.")
        ids = [photo.name for photo in photos]
        if len(set(ids)) != len(ids):
            twice = next(item for number, item in enumerate(ids) if item in ids[:number])
            raise StructureError(
                f"{source} lists {twice} twice in {name} split {split}; features could not be told apart."
            )
        super().__init__(ids, paths)
        self.captions = tuple(tuple(caption.strip() for caption in photo.captions) for photo in photos)

    def item(self, index: int) -> Item:
        captions = self.captions[within(index, len(self))]
        if not captions or not all(captions):
            reason = "an empty caption" if captions else "no caption"
            raise BadSampleError(self.ids[index], f"{self.source} has {reason} for it")
        return Item(self.ids[index], captions)


class CaptionedKind(DatasetKind):
    """A published set with captions: an entry of `configs/datasets.yaml` under `named`, and how its files are read."""

    argument = "none"
    default_split = "train"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.form, self.summary, self.how = name, self.entry.summary, self.entry.get
        self.splits = tuple(self.entry.splits)

    @property
    def entry(self) -> DatasetEntry:
        return entries()[self.name]

    def listings(self, data_root: Path) -> list[Listing]:
        entry, present = self.entry, self.entry.present(data_root)
        where = str(entry.root(data_root) or data_root / entry.folders[0])
        how = entry.get.format(folder=where)
        splits = present or tuple(self.splits)
        return [Listing(self.name, self.summary, splits, self.default_split, bool(present), where, how)]

    def gettable(self) -> tuple[str, ...]:
        return (self.name,)

    def get(self, argument: str, *, data_root: Path, on_event: Listener) -> Got:
        entry, present = self.entry, self.entry.present(data_root)
        folder = entry.root(data_root) or data_root / entry.folders[0]
        if present and entry.media_folder(folder, present[0]):
            return Got(self.name, folder, present, ())
        how = entry.get.format(folder=folder)
        fetched = fetch_all(self.name, entry.downloads, folder, how=how, on_event=on_event)
        return Got(self.name, folder, entry.present(data_root), fetched)


def read_karpathy(file: Path) -> list[Photo]:
    """The photos of `dataset_coco.json`, `dataset_flickr30k.json` or `dataset_flickr8k.json`: splits train, val, test
    and, for COCO, restval (Karpathy and Fei-Fei 2015)."""
    return photos_of_karpathy(read_json(file), file)


def photos_of_karpathy(content: Any, file: Path) -> list[Photo]:
    """The photos of a file of that form, of any data set; `content` is the JSON of `file`."""
    images = _list(content, "images", file)
    try:
        if not any("raw" in sentence for image in images for sentence in image["sentences"]):
            raise KeyError("raw")
        return [
            Photo(
                str(image["filename"]),
                tuple(str(sentence.get("raw") or "") for sentence in image["sentences"]),
                folder=image.get("filepath", ""),
                split=image.get("split", ""),
            )
            for image in images
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise _shape(file, error) from None


def read_coco(file: Path) -> list[Photo]:
    """The photos of `captions_<part>.json` in the order of its list of images, captions in the order of annotation."""
    return photos_of_coco(read_json(file), file)


def photos_of_coco(content: Any, file: Path) -> list[Photo]:
    """The photos of a file of that form, of any data set; `content` is the JSON of `file`."""
    try:
        captions: dict[int, list[str]] = {image["id"]: [] for image in _list(content, "images", file)}
        for annotation in _list(content, "annotations", file):
            captions[annotation["image_id"]].append(annotation["caption"])
        return [Photo(str(image["file_name"]), tuple(captions[image["id"]])) for image in content["images"]]
    except (KeyError, TypeError) as error:
        raise _shape(file, error) from None


def read_json(file: Path) -> Any:
    """The file's content. Raises `StructureError` for anything that is not JSON, as after a broken download."""
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise StructureError(
            f"{file} is not JSON ({file.stat().st_size} bytes): {error}. Get the file again."
        ) from None


def _list(content: Any, key: str, file: Path) -> list[Any]:
    values = content.get(key) if isinstance(content, dict) else None
    if not isinstance(values, list):
        raise StructureError(f"{file} has no list {key!r}, so it is another kind of file. Get the file again.")
    return values


def _shape(file: Path, error: Exception) -> StructureError:
    return StructureError(f"{file} is not the annotation file that its name says: {type(error).__name__} {error}.")
