"""Images with a class for every pixel: `masks:DIR`."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np

from structure.pipeline.datasets.dataset import Item, within
from structure.pipeline.datasets.image_files import SUFFIXES, ImageFiles, read_file, stamp
from structure.pipeline.datasets.kind import DatasetKind
from structure.pipeline.datasets.paths import folder_safe, locate
from structure.pipeline.datasets.splits import choose
from structure.store.errors import BadSampleError, NotPresentError, StructureError

IGNORE = 255
"""The value of a mask's pixel that belongs to no class; it is left out of every count."""

_INTEGER_MODES = frozenset({"1", "L", "P", "I", "I;16", "I;16L", "I;16B"})


class Masks(ImageFiles):
    """`DIR/images/<stem>.<ending>` with `DIR/masks/<stem>.png`, and `DIR/classes.json`.

    `classes.json` maps pixel values to names (`{"0": "sky", "7": "tree"}`), or lists the names of 0, 1, 2, ... . In
    `mask` the classes are numbered without gaps, in order of their pixel values; `mask_classes` names them. The pixel
    value 255 is `IGNORE` unless `classes.json` names it; any other value outside the list is a `BadSampleError`.

    Ids are the stems, in sorted order. Splits: `all`, or a seeded `train`, `val`, `test`.
    Raises `NotPresentError` for a missing part, `StructureError` for an image without mask or a mask without image.
    """

    kind = "segmentation"

    def __init__(self, folder: str | Path, *, split: str | None = None, seed: int = 0) -> None:
        root = Path(folder)
        for part in ("images", "masks", "classes.json"):
            if not (root / part).exists():
                raise NotPresentError(
                    f"{root.absolute()} has no {part}. masks: takes a folder with images/, masks/ (PNG, same names, a "
                    'class id per pixel) and classes.json ({"id": "name"}).'
                )
        self.name = folder_safe(root.absolute().name)
        self.values, self.mask_classes = read_classes(root / "classes.json")
        self.tasks = {}
        images = _by_stem(root / "images", SUFFIXES)
        masks = _by_stem(root / "masks", frozenset({".png", ".tif", ".tiff", ".bmp"}))
        for lonely, have, lack in (
            (sorted(images.keys() - masks.keys()), "images", "masks"),
            (sorted(masks.keys() - images.keys()), "masks", "images"),
        ):
            if lonely:
                raise StructureError(
                    f"{root}: {len(lonely)} of {len(images | masks)} names are in {have}/ and not in {lack}/, the "
                    f"first is {lonely[0]}. Every image needs its mask. Add the missing files or remove these."
                )
        if not images:
            raise StructureError(f"{root / 'images'} has 0 images; a dataset has 1 or more.")
        stems = sorted(images)
        self.split, chosen = choose(stems, split=split, seed=seed, source=str(root))
        super().__init__([stems[i] for i in chosen], [str(images[stems[i]]) for i in chosen])
        self.mask_paths = tuple(str(masks[item]) for item in self.ids)
        self._positions = np.full(max(int(self.values.max()), IGNORE) + 1, -1, np.int32)
        self._positions[IGNORE] = IGNORE
        self._positions[self.values] = np.arange(len(self.values), dtype=np.int32)

    def item(self, index: int) -> Item:
        return Item(self.ids[within(index, len(self))])

    def mask_stamp(self, index: int) -> str:
        return f"{stamp(self.mask_paths[within(index, len(self))])} {self.values.tolist()}"

    def mask(self, index: int) -> np.ndarray:
        """`(height, width)` int32: index in `mask_classes`, or 255 = ignore.

        Raises `BadSampleError` for a value outside the class list, a mask that is not of the image's size, or one
        that is in colour.
        """
        from structure.pipeline.datasets.decode_image import size

        item, path = self.ids[within(index, len(self))], self.mask_paths[index]
        values = self._read(item, path)
        known = (values >= 0) & (values < len(self._positions))
        classes = np.where(known, self._positions[np.where(known, values, 0)], -1)
        if (classes < 0).any():
            strange = sorted({int(value) for value in values[classes < 0]})
            raise BadSampleError(
                item,
                f"{path} has the id {strange[0]}{f' and {len(strange) - 1} more' if len(strange) > 1 else ''} on "
                f"{int((classes < 0).sum())} pixels, and classes.json names {len(self.mask_classes)} other ids. Add "
                "their names, or set those pixels to 255 (ignored)",
            )
        expected = size(self.payload(index))
        if expected is not None and expected != classes.shape[::-1]:
            width, height = expected
            raise BadSampleError(
                item,
                f"{path} is {classes.shape[1]} x {classes.shape[0]} and its image {width} x {height}; pixels must "
                "match",
            )
        return classes

    def _read(self, item: str, path: str) -> np.ndarray:
        from PIL import Image, UnidentifiedImageError

        from structure.pipeline.datasets.decode_image import MAX_PIXELS

        data = read_file(path, item=item)
        try:
            with Image.open(BytesIO(data), formats=("PNG", "TIFF", "BMP")) as image:
                if image.mode not in _INTEGER_MODES:
                    raise BadSampleError(
                        item, f"{path} is a {image.mode} image; a mask has one channel with a class id per pixel"
                    )
                if image.width * image.height > MAX_PIXELS:
                    raise BadSampleError(
                        item, f"{path} has {image.width * image.height} pixels, at most {MAX_PIXELS} are read"
                    )
                return np.asarray(image).astype(np.int64)
        except BadSampleError:
            raise
        except Exception as error:  # a decoder that is fed damaged bytes may raise anything
            reason = "no image" if isinstance(error, UnidentifiedImageError) else str(error)
            raise BadSampleError(item, f"the mask {path} is damaged ({len(data)} bytes): {reason}") from None


def read_classes(file: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixel values, ascending `(classes,)` int64, and their names. Raises `StructureError` for any other form."""
    try:
        given = json.loads(file.read_text(encoding="utf-8-sig"))
        if isinstance(given, list):
            given = dict(enumerate(given))
        named = {int(key): name for key, name in given.items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise StructureError(
            f'{file} is not a class list: {error}. Write {{"0": "sky", "7": "tree"}} or ["sky", "tree"].'
        ) from None
    if len(named) != len(given) or not all(isinstance(name, str) and name.strip() for name in named.values()):
        raise StructureError(f"{file}: every id needs one name, which is text; found {len(given)} ids.")
    if not named or min(named) < 0 or max(named) > 65535:
        span = f"from {min(named)} to {max(named)}" if named else "none"
        raise StructureError(
            f"{file}: ids are {span}; a mask's pixels hold 0 to 65535, and a list has 1 class or more."
        )
    if len(named) > IGNORE:
        raise StructureError(
            f"{file} names {len(named)} classes; numbered from 0 they would reach {IGNORE}, which means ignore. At "
            f"most {IGNORE} can be told apart."
        )
    ordered = sorted(named)
    return np.array(ordered, np.int64), tuple(named[value] for value in ordered)


def _by_stem(folder: Path, suffixes: frozenset[str]) -> dict[str, Path]:
    by_stem: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in by_stem:
                raise StructureError(
                    f"{folder} has both {by_stem[path.stem].name} and {path.name}; a mask could belong to either."
                )
            by_stem[path.stem] = path
    return by_stem


class MasksKind(DatasetKind):
    """`masks:DIR`; a relative path is looked for from the current folder, then from the data root."""

    form = "masks:DIR"
    summary = "images with a class for every pixel"
    how = "images/, masks/ (PNG, same names, ids from 0) and classes.json from id to name"

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> Masks:
        needs = "a folder with images/, masks/ and classes.json"
        return Masks(locate(argument, data_root=data_root, kind=self.name, needs=needs), split=split, seed=seed)
