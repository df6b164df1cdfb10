"""Images with their captions in a text file beside each: `sidecar:DIR`, `a.jpg` and `a.txt`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from structure.pipeline.datasets.dataset import Item, Task, within
from structure.pipeline.datasets.folder_splits import SPLITS_OPTION, files_below, is_leftover, read_splits
from structure.pipeline.datasets.image_files import ImageFiles, images_or_videos
from structure.pipeline.datasets.kind import DatasetKind
from structure.pipeline.datasets.paths import folder_safe, locate
from structure.pipeline.datasets.split_names import choose_split
from structure.pipeline.datasets.splits import choose
from structure.pipeline.datasets.text_lines import read_lines
from structure.store.errors import BadSampleError, NotPresentError, StructureError

LONGEST = 1 << 20
"""Bytes of a text file that is read as captions; longer ones are something else."""


class Sidecar(ImageFiles):
    """Images anywhere below a folder, sorted by path, each with a text file of the same name: a caption a line.

    Ids are paths relative to the folder. Where all its folders with images are called train, val or test they are the
    splits, as for `folder:`; else `all` (default), or a seeded `train`, `val`, `test` by a hash of the id. An image
    without text file, or with an empty one, is a `BadSampleError` when it is read. Hidden files and folders are left
    out. Raises `NotPresentError` without the folder, `StructureError` where no image has a text beside it, and where
    names leave it open which folders are splits.
    """

    kind = "retrieval"
    tasks: Mapping[str, Task] = {}

    def __init__(
        self, folder: str | Path, *, split: str | None = None, seed: int = 0, splits: str | None = None
    ) -> None:
        root = Path(folder)
        if not root.is_dir():
            raise NotPresentError(
                f"There is no folder {root.absolute()}. sidecar: takes a folder with a.jpg and a.txt."
            )
        parts = read_splits(root, kind="sidecar", given=splits)
        self.splits, tops, chosen_split = tuple(parts.folders), [root], ""
        if parts.folders:
            chosen_split = choose_split(split, self.splits, hint=f"{root} has a folder for each of its splits.")
            tops = [root / parts.folders[chosen_split]]
        files = [path for top in tops for path in files_below(top)]
        shown = [path for path in files if not any(map(is_leftover, path.relative_to(root).parts))]
        paths = sorted(images_or_videos(shown), key=lambda path: path.as_posix())
        texts = [path for path in paths if path.with_suffix(".txt").is_file()]
        if not texts:
            raise StructureError(
                f"{root.absolute()} has {len(paths)} images and beside none of them a text file of its name (a.jpg "
                "and a.txt). For images in class folders use folder:DIR."
            )
        self.name = folder_safe(root.absolute().name)
        ids = [path.relative_to(root).as_posix() for path in paths]
        if parts.folders:
            self.split, chosen = chosen_split, list(range(len(ids)))
        else:
            self.split, chosen = choose(ids, split=split, seed=seed, source=str(root))
        super().__init__([ids[i] for i in chosen], [str(paths[i]) for i in chosen])
        lacking = len(paths) - len(texts)
        told = (
            f"{lacking} of {len(paths)} images have no text file beside them" if lacking else "",
            f"folders in no split left out: {', '.join(parts.left_out)}" if parts.left_out else "",
        )
        self.notes = tuple(filter(None, told))

    def item(self, index: int) -> Item:
        item = self.ids[within(index, len(self))]
        file = Path(self.paths[index]).with_suffix(".txt")
        try:
            if file.stat().st_size > LONGEST:
                raise BadSampleError(item, f"{file} has {file.stat().st_size:,} bytes: it is no file of captions")
            lines = read_lines(file)
        except FileNotFoundError:
            raise BadSampleError(item, f"there is no file {file} with its caption") from None
        except (OSError, UnicodeDecodeError) as error:
            raise BadSampleError(item, f"{file} cannot be read as UTF-8 text: {error}") from None
        captions = tuple(filter(None, (line.strip() for line in lines)))
        if not captions:
            raise BadSampleError(item, f"{file} holds no caption")
        return Item(item, captions)


class SidecarKind(DatasetKind):
    """`sidecar:DIR`; a relative path is looked for from the current folder, then from the data root."""

    form = "sidecar:DIR"
    summary = "images with a text file beside each (a.jpg and a.txt), a caption a line"
    how = "write the captions of each image into a text file of its name"
    options: Mapping[str, str] = {"splits": SPLITS_OPTION}

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> Sidecar:
        needs = "a folder of images with a text file beside each"
        root = locate(argument, data_root=data_root, kind=self.name, needs=needs)
        return Sidecar(root, split=split, seed=seed, splits=self.option("splits"))
