"""Images in class folders: `folder:DIR`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from structure.pipeline.datasets.class_labels import odd_classes
from structure.pipeline.datasets.dataset import Item, Task, within
from structure.pipeline.datasets.folder_splits import (
    SPLITS_OPTION,
    files_below,
    is_leftover,
    read_splits,
    subfolders,
)
from structure.pipeline.datasets.image_files import VISUAL_SUFFIXES, ImageFiles, images_or_videos, names_video
from structure.pipeline.datasets.kind import DatasetKind
from structure.pipeline.datasets.paths import folder_safe, locate
from structure.pipeline.datasets.split_names import choose_split
from structure.pipeline.datasets.splits import choose
from structure.store.errors import NotPresentError, StructureError


class Folder(ImageFiles):
    """`DIR/<class>/**/<image>`: classes are the folders' names in sorted order, images sorted by path.

    Where all folders of DIR with images are called train, val or test (or training, valid, validation, dev, testing;
    in any case) they are splits, each with class folders inside (`DIR/train/<class>/...`), and every split numbers the
    classes of all; default `train`, or the first. `splits` says it otherwise (`read_splits`). Without such folders
    `all` (default), or a seeded `train`, `val`, `test` by a hash of the id.

    Ids are paths relative to DIR, with `/`. Where there is no image, the videos are the samples. Hidden files, what
    archivers leave behind (`__MACOSX`), files that are no images by their ending, images outside class folders and
    classes without image are counted in `notes`. Links to folders are followed, each folder once.
    Raises `NotPresentError` without DIR, `StructureError` where no image lies in a class folder, and where names leave
    it open which folders are splits.
    """

    kind = "classification"

    def __init__(
        self, folder: str | Path, *, split: str | None = None, seed: int = 0, splits: str | None = None
    ) -> None:
        root = Path(folder)
        if not root.is_dir():
            raise NotPresentError(
                f"There is no folder {root.absolute()}. folder: takes a folder with one sub-folder of images per class."
            )
        self.name = folder_safe(root.absolute().name)
        parts = read_splits(root, kind="folder", given=splits)
        self.splits = tuple(parts.folders)
        chosen_split = ""
        if parts.folders:
            chosen_split = choose_split(split, self.splits, hint=f"{root} has a folder for each of its splits.")
        tops = [root / name for name in parts.folders.values()] or [root]
        classes = sorted({name for top in tops for name in subfolders(top)})
        scan = _ScannedFolder(root)
        for top in [root / parts.folders[chosen_split]] if parts.folders else tops:
            scan.read(top)
        scan.leave_videos_beside_images()
        if not scan.paths:
            raise StructureError(
                f"{root.absolute()} has {len(classes)} class folders and no image inside them "
                f"({scan.summary() or 'it is empty'}). Put the images of each class into a folder with its name, or "
                "list images and captions in a file and use pairs:FILE.jsonl."
            )
        ids = [_relative(path, root) for path in scan.paths]
        if parts.folders:
            self.split, chosen = chosen_split, list(range(len(ids)))
        else:
            self.split, chosen = choose(ids, split=split, seed=seed, source=str(root))
        super().__init__([ids[i] for i in chosen], [scan.paths[i] for i in chosen])
        number = {name: index for index, name in enumerate(classes)}
        self.labels = tuple(number[scan.classes[i]] for i in chosen)
        self.tasks = {"label": Task(tuple(classes), source=f"folder names of {self.name}")}
        empty = [classes[index] for index in sorted(set(range(len(classes))) - set(self.labels))]
        told = (
            scan.summary(),
            _listed(empty, "class without image", "classes without image"),
            _listed(parts.left_out, "folder in no split left out", "folders in no split left out"),
            _one_class(root, tops, classes, scan.paths),
            *odd_classes(classes),
        )
        self.notes = tuple(filter(None, told))

    def item(self, index: int) -> Item:
        return Item(self.ids[within(index, len(self))], (), {"label": self.labels[index]})


class _ScannedFolder:
    """Images below class folders, and what was passed over."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths: list[str] = []
        self.classes: list[str] = []
        self.hidden: list[str] = []
        self.others: list[str] = []
        self.outside: list[str] = []

    def read(self, top: Path) -> None:
        for path in files_below(top):
            name = str(path)
            parts = _relative(name, top).split("/")
            if any(map(is_leftover, parts)):
                self.hidden.append(_relative(name, self.root))
            elif path.suffix.lower() not in VISUAL_SUFFIXES:
                self.others.append(_relative(name, self.root))
            elif len(parts) == 1:
                self.outside.append(_relative(name, self.root))
            else:
                self.paths.append(name)
                self.classes.append(parts[0])

    def leave_videos_beside_images(self) -> None:
        """A few videos beside photos are left out; where there is no image, the videos are the samples."""
        if not any(map(names_video, self.paths)):
            return
        kept = set(map(str, images_or_videos([Path(path) for path in self.paths])))
        pairs = list(zip(self.paths, self.classes, strict=True))
        self.others += [_relative(path, self.root) for path, _ in pairs if path not in kept]
        self.paths = [path for path, _ in pairs if path in kept]
        self.classes = [name for path, name in pairs if path in kept]

    def summary(self) -> str:
        return "; ".join(
            filter(
                None,
                (
                    _listed(self.hidden, "hidden file left out", "hidden files left out"),
                    _listed(self.others, "file that is no image left out", "files that are no images left out"),
                    _listed(
                        self.outside,
                        "image outside class folders left out",
                        "images outside class folders left out",
                    ),
                ),
            )
        )


def _one_class(root: Path, tops: Sequence[Path], classes: Sequence[str], paths: Sequence[str]) -> str:
    """A folder around the class folders, as archives often have: the only class then holds them all."""
    inner = [top / classes[0] for top in tops if len(classes) == 1]
    deeper = sorted({parts[0] for path in paths for top in inner if len(parts := _below(path, top)) > 1})
    if len(deeper) < 2 or any(len(_below(path, top)) == 1 for path in paths for top in inner):
        return ""
    remedy = f" If these are the classes, type folder:{root / classes[0]}" if tops == [root] else ""
    return (
        f"there is 1 class, {classes[0]}, and its images lie in {len(deeper)} folders inside it ({deeper[0]}, "
        f"{deeper[1]}{', ...' if len(deeper) > 2 else ''}).{remedy}"
    )


def _relative(path: str, top: Path) -> str:
    """`path`, which lies below `top`, relative to it; `Path.relative_to` takes twenty times as long."""
    return path.removeprefix(f"{str(top).rstrip('/')}/")


def _below(path: str, top: Path) -> tuple[str, ...]:
    return Path(path).relative_to(top).parts if Path(path).is_relative_to(top) else ()


def _listed(names: Sequence[str], one: str, several: str) -> str:
    """`3 hidden files left out (.DS_Store, ...)`, or "" for none."""
    if not names:
        return ""
    return f"{len(names)} {one if len(names) == 1 else several} ({names[0]}{', ...' if len(names) > 1 else ''})"


class FolderKind(DatasetKind):
    """`folder:DIR`; a relative path is looked for from the current folder, then from the data root."""

    form = "folder:DIR"
    summary = "images in class folders"
    how = "one sub-folder per class, called as the class"
    options: Mapping[str, str] = {"splits": SPLITS_OPTION}

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> Folder:
        needs = "a folder with one sub-folder of images per class"
        root = locate(argument, data_root=data_root, kind=self.name, needs=needs)
        return Folder(root, split=split, seed=seed, splits=self.option("splits"))
