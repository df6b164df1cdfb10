"""Images in class folders: `folder:DIR`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from structure.pipeline.datasets.dataset import Item, Task, within
from structure.pipeline.datasets.image_files import SUFFIXES, ImageFiles
from structure.pipeline.datasets.kind import DatasetKind
from structure.pipeline.datasets.paths import folder_safe, locate
from structure.pipeline.datasets.splits import choose
from structure.store.errors import NotPresentError, StructureError, unknown

SPLIT_FOLDERS = frozenset({"train", "val", "valid", "validation", "dev", "test"})


class Folder(ImageFiles):
    """`DIR/<class>/**/<image>`: classes are the folders' names in sorted order, images sorted by path.

    Where all folders of DIR are called train, val, valid, validation, dev or test they are splits, each with class
    folders inside (`DIR/train/<class>/...`), and every split numbers the classes of all; default `train`, or the first.
    Otherwise `all` (default), or a seeded `train`, `val`, `test` by a hash of the id.

    Ids are paths relative to DIR, with `/`. Hidden files, files that are no images by their ending, images outside
    class folders and classes without image are counted in `notes`. Links to folders are followed, each folder once.
    Raises `NotPresentError` without DIR, `StructureError` where no image lies in a class folder.
    """

    kind = "classification"

    def __init__(self, folder: str | Path, *, split: str | None = None, seed: int = 0) -> None:
        root = Path(folder)
        if not root.is_dir():
            raise NotPresentError(
                f"There is no folder {root.absolute()}. folder: takes a folder with one sub-folder of images per class."
            )
        self.name = folder_safe(root.absolute().name)
        splits = _subfolders(root)
        has_splits = bool(splits) and SPLIT_FOLDERS.issuperset(splits)
        chosen_split = split if split is not None else next((s for s in ("train", *splits) if s in splits), "")
        self.splits = tuple(splits) if has_splits else ()
        if has_splits and chosen_split not in splits:
            raise unknown("split", chosen_split, splits, hint=f"{root} has a folder for each of its splits.")
        tops = [root / name for name in splits] if has_splits else [root]
        classes = sorted({name for top in tops for name in _subfolders(top)})
        scan = _ScannedFolder(root)
        for top in [root / chosen_split] if has_splits else tops:
            scan.read(top)
        if not scan.paths:
            raise StructureError(
                f"{root.absolute()} has {len(classes)} class folders and no image inside them "
                f"({scan.summary() or 'it is empty'}). Put the images of each class into a folder with its name, or "
                "list images and captions in a file and use pairs:FILE.jsonl."
            )
        ids = [Path(path).relative_to(root).as_posix() for path in scan.paths]
        if has_splits:
            self.split, chosen = chosen_split, list(range(len(ids)))
        else:
            self.split, chosen = choose(ids, split=split, seed=seed, source=str(root))
        super().__init__([ids[i] for i in chosen], [scan.paths[i] for i in chosen])
        number = {name: index for index, name in enumerate(classes)}
        self.labels = tuple(number[scan.classes[i]] for i in chosen)
        self.tasks = {"label": Task(tuple(classes), source=f"folder names of {self.name}")}
        empty = [classes[index] for index in sorted(set(range(len(classes))) - set(self.labels))]
        self.notes = tuple(
            filter(None, (scan.summary(), _listed(empty, "class without image", "classes without image")))
        )

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
        for path in _files(top):
            relative = path.relative_to(top)
            shown = path.relative_to(self.root).as_posix()
            if any(part.startswith(".") for part in relative.parts):
                self.hidden.append(shown)
            elif path.suffix.lower() not in SUFFIXES:
                self.others.append(shown)
            elif len(relative.parts) == 1:
                self.outside.append(shown)
            else:
                self.paths.append(str(path))
                self.classes.append(relative.parts[0])

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


def _subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _files(top: Path) -> Iterator[Path]:
    """Every file below `top`, sorted by path, each folder once (links may form a circle)."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(folder, name) for name in sorted(files))


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

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> Folder:
        needs = "a folder with one sub-folder of images per class"
        return Folder(locate(argument, data_root=data_root, kind=self.name, needs=needs), split=split, seed=seed)
