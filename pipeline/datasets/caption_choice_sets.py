"""Sets that CLIP_benchmark reads from their authors' files: captions to choose from, and captions in many languages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structure.pipeline.datasets.captioned import read_json
from structure.pipeline.datasets.dataset import Dataset, Item, Task, within
from structure.pipeline.datasets.image_files import ImageFiles
from structure.pipeline.datasets.paths import folder_safe
from structure.pipeline.datasets.text_lines import read_lines
from structure.store.errors import BadSampleError, NotPresentError, StructureError, unknown

SUGAR_CREPE = ("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")
# fmt: off
CROSSMODAL = (
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fil", "fr", "he", "hi", "hr", "hu", "id", "it",
    "ja", "ko", "mi", "nl", "no", "pl", "pt", "quz", "ro", "ru", "sv", "sw", "te", "th", "tr", "uk", "vi", "zh",
)
XTD = ("de", "en", "es", "fr", "it", "jp", "ko", "pl", "ru", "tr", "zh")
# fmt: on


@dataclass(frozen=True)
class NativeEntry:
    """An image with its texts; `where` is file and place, for messages."""

    id: str
    path: str
    captions: tuple[str, ...]
    where: str


class NativeSet(ImageFiles):
    """Entries in the order of their file. `kind` is "selection" (the first caption of a sample is right, or samples
    `<group>/0` and `<group>/1` each bring the caption that is right for them) or "retrieval"."""

    tasks: Mapping[str, Task] = {}

    def __init__(self, name: str, split: str, kind: str, entries: Sequence[NativeEntry], *, source: Path) -> None:
        self.name, self.split, self.kind = name, split, kind
        if not entries:
            raise StructureError(f"{source} has 0 entries; a dataset has 1 or more.")
        self.entries = tuple(entries)
        super().__init__([entry.id for entry in entries], [entry.path for entry in entries])

    def item(self, index: int) -> Item:
        entry = self.entries[within(index, len(self))]
        if not entry.captions or not all(caption.strip() for caption in entry.captions):
            raise BadSampleError(entry.id, f"{entry.where} has an empty caption")
        return Item(entry.id, tuple(caption.strip() for caption in entry.captions))


def is_native(argument: str) -> bool:
    """Whether `clip-benchmark:<argument>` is one of these sets."""
    return argument.partition("/")[0] in _READERS


def open_native(argument: str, *, split: str | None, data_root: Path) -> Dataset:
    """`sugar_crepe/<part>`, `winoground`, `crossmodal3600/<language>` or `xtd10/<language>`, below the data root or
    its `clip-benchmark` folder; they have the split `test` alone.

    Raises `NotPresentError` that says what to place where, `StructureError` for an unknown part or language.
    """
    name, _, part = argument.partition("/")
    parts, kind, get, reader = _READERS[name]
    if parts and part not in parts:
        raise unknown(f"part of {name}", part, parts)
    if split not in (None, "test"):
        raise unknown("split", str(split), ["test"], hint=f"{name} has one split.")
    folders = [data_root / folder / name for folder in ("", "clip-benchmark")]
    root = next((path for path in folders if path.is_dir()), None)
    how = get.format(folder=root or folders[0], part=part)
    if root is None:
        raise NotPresentError(
            f"Dataset clip-benchmark:{argument} is not on this machine; looked for {' and '.join(map(str, folders))} "
            f"(--data-root says where). To get it: {how}"
        )
    try:
        source, entries = reader(root, part)
    except FileNotFoundError as error:
        raise NotPresentError(f"Dataset clip-benchmark:{argument} lacks {error.args[0]}. To get it: {how}") from None
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise StructureError(
            f"{root}: the annotations of {name} are not as published: {type(error).__name__} {error}. Get them again."
        ) from None
    # Languages are splits of one dataset: its images are then encoded once.
    if kind == "retrieval":
        return NativeSet(name, folder_safe(f"test.{part}"), kind, entries, source=source)
    return NativeSet(folder_safe(argument.replace("/", "-")), "test", kind, entries, source=source)


def _need(*paths: Path) -> Path:
    """The first path that is there. Raises FileNotFoundError with all of them."""
    for path in paths:
        if path.exists():
            return path
    raise FileNotFoundError(" or ".join(map(str, paths)))


def _inside(folder: Path, name: str) -> str:
    """The path of an image. Raises `StructureError` for a name that leads out of its folder."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise StructureError(f"The image name {name!r} leads out of {folder}. Do not trust this annotation file.")
    return str(folder / name)


def _sugar_crepe(root: Path, part: str) -> tuple[Path, list[NativeEntry]]:
    """`<part>.json`: key -> filename, caption, negative_caption; images of COCO val2017."""
    file = _need(root / f"{part}.json", root / "data" / f"{part}.json")
    image_folder = _need(root / "val2017", root.parent / "coco" / "val2017")
    return file, [
        NativeEntry(
            key,
            _inside(image_folder, row["filename"]),
            (row["caption"], row["negative_caption"]),
            f"{file}, entry {key}",
        )
        for key, row in read_json(file).items()
    ]


def _winoground(root: Path, part: str) -> tuple[Path, list[NativeEntry]]:
    """`data/examples.jsonl`: id, image_0, image_1, caption_0, caption_1; images `data/images/<image>.png`."""
    file = _need(root / "data" / "examples.jsonl", root / "examples.jsonl")
    image_folder = _need(file.parent / "images")
    return file, [
        NativeEntry(
            f"{row['id']}/{side}",
            _inside(image_folder, f"{row[f'image_{side}'].removesuffix('.png')}.png"),
            (row[f"caption_{side}"],),
            f"{file}, line {number}",
        )
        for number, row in _lines(file)
        for side in (0, 1)
    ]


def _crossmodal(root: Path, part: str) -> tuple[Path, list[NativeEntry]]:
    """`captions.jsonl`: image/key and, for every language, its captions; the first one, as in CLIP_benchmark."""
    file = _need(root / "captions.jsonl", root / "xm3600" / "captions.jsonl")
    image_folder = _need(file.parent / "images")
    return file, [
        NativeEntry(
            row["image/key"],
            _inside(image_folder, f"{row['image/key']}.jpg"),
            tuple(row[part]["caption"][:1]),
            f"{file}, line {number}",
        )
        for number, row in _lines(file)
    ]


def _xtd(root: Path, part: str) -> tuple[Path, list[NativeEntry]]:
    """`test_image_names.txt` and `test_1kcaptions_<language>.txt`, line by line."""
    names = _need(root / "test_image_names.txt", root / "xtd10" / "test_image_names.txt")
    file = _need(names.parent / f"test_1kcaptions_{part}.txt")
    image_folder = _need(names.parent / "images")
    images, captions = (read_lines(path) for path in (names, file))
    if len(images) != len(captions):
        raise StructureError(
            f"{names} has {len(images)} lines and {file} has {len(captions)}: captions would belong to other images. "
            "Get both again."
        )
    return file, [
        NativeEntry(image, _inside(image_folder, image), (caption,), f"{file}, line {number}")
        for number, (image, caption) in enumerate(zip(images, captions, strict=True), start=1)
    ]


def _lines(file: Path) -> Iterator[tuple[int, Any]]:
    """Line number and object of every line of a JSONL file. Raises `StructureError` with the line that is no JSON."""
    for number, line in enumerate(read_lines(file), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise StructureError(f"{file}, line {number} is not JSON: {error}. Get the file again.") from None


Reader = Callable[[Path, str], tuple[Path, list[NativeEntry]]]

_READERS: Mapping[str, tuple[Sequence[str], str, str, Reader]] = {
    "sugar_crepe": (
        SUGAR_CREPE,
        "selection",
        "place {part}.json (github.com/RAIVNLab/sugar-crepe, folder data) and val2017 (cocodataset.org) in {folder}.",
        _sugar_crepe,
    ),
    "winoground": (
        (),
        "selection",
        "ask for facebook/winoground on the Hugging Face hub; place data/examples.jsonl and data/images in {folder}.",
        _winoground,
    ),
    "crossmodal3600": (
        CROSSMODAL,
        "retrieval",
        "from google.github.io/crossmodal-3600 unpack captions.zip (captions.jsonl) and images.tgz in {folder}.",
        _crossmodal,
    ),
    "xtd10": (
        XTD,
        "retrieval",
        "from github.com/adobe-research/Cross-lingual-Test-Dataset-XTD10 place test_image_names.txt and "
        "test_1kcaptions_{part}.txt in {folder}, and the images (COCO) in {folder}/images.",
        _xtd,
    ),
}
