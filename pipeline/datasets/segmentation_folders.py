"""The segmentation sets that people quote, in their usual folders: `voc20`, `context59`, `ade20k`, `coco-stuff`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from structure.pipeline.datasets.catalogue import segmentation_set
from structure.pipeline.datasets.dataset import Item, Task, within
from structure.pipeline.datasets.image_files import ImageFiles, read_file, stamp
from structure.pipeline.datasets.kind import DatasetKind, Listing
from structure.pipeline.datasets.text_lines import read_lines
from structure.store.errors import BadSampleError, NotPresentError, StructureError, unknown

IGNORE = 255


@dataclass(frozen=True)
class SegmentationFiles:
    """Sample id, image and mask, relative to the set's folder."""

    id: str
    image: str
    mask: str


class SegmentationFolder(ImageFiles):
    """Images with masks whose pixel values `values` (classes,) are numbered 0, 1, ... as `mask_classes`; every other
    value in `ignored` is 255. A value in neither is a `BadSampleError`."""

    kind = "segmentation"
    tasks: Mapping[str, Task] = {}

    def __init__(
        self,
        name: str,
        split: str,
        root: Path,
        files: Sequence[SegmentationFiles],
        *,
        classes: Mapping[int, str],
        ignored: Sequence[int],
    ) -> None:
        if not files:
            raise StructureError(f"{root} has 0 images in the split {split} of {name}; a dataset has 1 or more.")
        super().__init__([file.id for file in files], [str(root / file.image) for file in files])
        self.name, self.split = name, split
        self.mask_paths = tuple(str(root / file.mask) for file in files)
        self.mask_classes, self._values = tuple(classes.values()), tuple(classes)
        self._numbers = np.full(256, -1, np.int32)
        self._numbers[list(ignored)] = IGNORE
        self._numbers[list(classes)] = np.arange(len(classes), dtype=np.int32)

    def item(self, index: int) -> Item:
        return Item(self.ids[within(index, len(self))])

    def mask_stamp(self, index: int) -> str:
        return f"{stamp(self.mask_paths[within(index, len(self))])} {self._values}"

    def mask(self, index: int) -> np.ndarray:
        """`(height, width)` int32: index in `mask_classes`, or 255 = ignore."""
        from PIL import Image

        from structure.pipeline.datasets.decode_image import MAX_PIXELS

        item, path = self.ids[within(index, len(self))], self.mask_paths[index]
        data = read_file(path, item=item)
        try:
            with Image.open(BytesIO(data), formats=("PNG",)) as image:
                if image.mode not in ("L", "P") or image.width * image.height > MAX_PIXELS:
                    raise BadSampleError(item, f"{path} is a {image.mode} image of {image.size}; masks have ids")
                values = np.asarray(image)
        except BadSampleError:
            raise
        except Exception as error:  # a decoder that is fed damaged bytes may raise anything
            raise BadSampleError(item, f"the mask {path} is damaged ({len(data)} bytes): {error}") from None
        classes: np.ndarray = self._numbers[values]
        if (classes < 0).any():
            strange = int(values[classes < 0][0])
            raise BadSampleError(
                item, f"{path} has the id {strange}, and {self.name} has {len(self.mask_classes)} others"
            )
        return classes


class SegmentationKind(DatasetKind):
    """A set by name: an entry of `configs/datasets.yaml` under `segmentation`, and a reader of that name in `READERS`.
    The only split is `val`, on which these sets are evaluated."""

    argument = "none"
    splits = ("val",)
    default_split = "val"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.facts = segmentation_set(name)
        self.form, self.summary, self.how = name, self.facts.summary, self.facts.get

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> SegmentationFolder:
        """Raises `NotPresentError`, with how to get it, where its folder or a part of it is missing."""
        if split not in (None, "val"):
            raise unknown(f"split of {self.name}", str(split), self.splits)
        root = self._root(data_root)
        if root is not None:
            files, classes = READERS[self.name](root)
            ignored = self.facts.ignored
            return SegmentationFolder(self.name, "val", root, files, classes=classes, ignored=ignored)
        looked = ", ".join(str(data_root / folder) for folder in self.facts.folders)
        raise NotPresentError(
            f"Dataset {self.name} is not on this machine: it needs {', '.join(self.facts.needs)} in {looked} "
            f"(--data-root says where). To get it: {self._how(data_root)}"
        )

    def listings(self, data_root: Path) -> list[Listing]:
        root = self._root(data_root)
        where = str(root or data_root / self.facts.folders[0])
        how = self._how(data_root)
        return [Listing(self.name, self.summary, self.splits, self.default_split, root is not None, where, how)]

    def _root(self, data_root: Path) -> Path | None:
        """The first folder with all that the set needs."""
        folders = [data_root / folder for folder in self.facts.folders]
        return next((root for root in folders if all((root / part).exists() for part in self.facts.needs)), None)

    def _how(self, data_root: Path) -> str:
        return self.how.format(folder=data_root / self.facts.folders[0])


def _voc(root: Path) -> tuple[list[SegmentationFiles], dict[int, str]]:
    stems = _stems(root / "ImageSets" / "Segmentation" / "val.txt")
    files = [SegmentationFiles(stem, f"JPEGImages/{stem}.jpg", f"SegmentationClass/{stem}.png") for stem in stems]
    return files, _named("voc20")


def _context(root: Path) -> tuple[list[SegmentationFiles], dict[int, str]]:
    stems = _stems(root / "ImageSets" / "SegmentationContext" / "val.txt")
    files = [
        SegmentationFiles(stem, f"JPEGImages/{stem}.jpg", f"SegmentationClassContext/{stem}.png") for stem in stems
    ]
    return files, _named("context59")


def _ade20k(root: Path) -> tuple[list[SegmentationFiles], dict[int, str]]:
    """Names from `objectInfo150.txt`, the first of each line's; id 0 (what the 150 classes do not name) is ignored."""
    file = root / "objectInfo150.txt"
    rows = [line.split("\t") for line in read_lines(file)[1:] if line.strip()]
    try:
        classes = {int(row[0]): row[-1].split(",")[0].strip() for row in rows}
    except ValueError as error:
        raise StructureError(f"{file} is not the table of ADE20K's classes: {error}. Get the file again.") from None
    if sorted(classes) != list(range(1, len(classes) + 1)):
        raise StructureError(
            f"{file} numbers its {len(classes)} classes {min(classes)} to {max(classes)}; 1 to n is expected."
        )
    paths = sorted((root / "images" / "validation").glob("*.jpg"))
    files = [
        SegmentationFiles(p.stem, f"images/validation/{p.name}", f"annotations/validation/{p.stem}.png") for p in paths
    ]
    return files, classes


def _coco_stuff(root: Path) -> tuple[list[SegmentationFiles], dict[int, str]]:
    """`stuffthingmaps`: pixel value v is class v + 1 of `labels.txt`; COCO never used 11 of the 182."""
    file = root / "labels.txt"
    classes = {}
    for number, line in enumerate(read_lines(file), start=1):
        identity, colon, name = line.partition(":")
        if line.strip() and (not colon or not identity.strip().isdigit()):
            raise StructureError(f"{file}, line {number} is not 'id: name': {line[:80]!r}. Get the file again.")
        if line.strip() and int(identity) > 0 and int(identity) not in UNUSED:
            classes[int(identity) - 1] = name.strip().replace("-", " ")
    paths = sorted((root / "stuffthingmaps" / "val2017").glob("*.png"))
    return [
        SegmentationFiles(p.stem, f"val2017/{p.stem}.jpg", f"stuffthingmaps/val2017/{p.name}") for p in paths
    ], classes


UNUSED = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91})
"""Ids that COCO's list has and its images have not."""

READERS: Mapping[str, Callable[[Path], tuple[list[SegmentationFiles], dict[int, str]]]] = {
    "voc20": _voc,
    "context59": _context,
    "ade20k": _ade20k,
    "coco-stuff": _coco_stuff,
}


def _stems(file: Path) -> list[str]:
    stems = [line.strip() for line in read_lines(file) if line.strip()]
    for number, stem in enumerate(stems, start=1):
        if not stem.replace("_", "").isalnum():
            raise StructureError(f"{file}, line {number} is no name of an image: {stem[:80]!r}. Get the file again.")
    return stems


def _named(name: str) -> dict[int, str]:
    """Value 0 is the background, the classes follow in the list's order."""
    return dict(enumerate(["background", *segmentation_set(name).classes]))
