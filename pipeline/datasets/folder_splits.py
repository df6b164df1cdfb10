"""Whether the folders below a data set's folder are its parts (`train`, `test`, ...), and what lies in them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from structure.pipeline.datasets.image_files import SUFFIXES
from structure.pipeline.datasets.split_names import meaning, split_folders, split_of
from structure.store.errors import StructureError, unknown

LEFTOVERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"})
"""Folders that file systems and archivers leave beside data: what lies in them is no part of the data."""

SPLITS_OPTION = "folders that are the splits, such as train,test (others are left out); none: every folder is a class"


@dataclass(frozen=True)
class FolderSplits:
    """`folders`: part -> folder, empty where the data bring no parts; `left_out`: folders with images in no part."""

    folders: dict[str, str]
    left_out: tuple[str, ...] = ()


def read_splits(root: Path, *, kind: str, given: str | None) -> FolderSplits:
    """The parts of `root`: what `given` says ("none", or folders with commas between), else what all folders with
    images are called.

    Folders without images, hidden ones and `LEFTOVERS` never decide. Raises `StructureError` where some folders with
    images have names of splits and others have not, and where such names stand one level deeper.
    """
    tops = [name for name in subfolders(root) if has_images(root / name)]
    if given is not None:
        return FolderSplits({}) if given == "none" else _given(tops, given, root)
    words = list({split_of(name): name for name in reversed(tops) if split_of(name)}.values())[::-1]
    how = (
        f"Say which: '{kind}:{root}?splits={','.join(words)}' (these are splits, all else is left out), or "
        f"'{kind}:{root}?splits=none' (no folder is a split). Or move the folders apart."
    )
    splits = split_folders(tops, where=str(root), how=how)
    if splits and any(_is_image(path) for path in root.iterdir() if path.is_file()):
        raise StructureError(
            f"{root} has the folders {', '.join(splits.values())}, which are names of splits, and images beside them "
            f"that are in no split: they could be held out wrongly. {how}"
        )
    if not splits:
        _refuse_deeper(root, tops, kind)
    return FolderSplits(splits)


def _given(tops: Sequence[str], given: str, root: Path) -> FolderSplits:
    chosen = [name.strip() for name in given.split(",") if name.strip()]
    for name in chosen:
        if name not in tops:
            raise unknown("folder", name, tops, hint=f"These folders of {root} have images.")
    if not chosen:
        raise StructureError("splits= names no folder. Type splits=train,test, or splits=none.")
    folders = {split_of(name) or name: name for name in chosen}
    if len(folders) != len(chosen):
        raise StructureError(f"splits={given}: two of these folders mean the same split. Name one of them.")
    return FolderSplits(folders, tuple(name for name in tops if name not in chosen))


def _refuse_deeper(root: Path, tops: Sequence[str], kind: str) -> None:
    """Splits inside the class folders, or inside one folder around all: each would be drawn anew, and wrongly."""
    for top in tops:
        deeper = [name for name in subfolders(root / top) if meaning(name) and has_images(root / top / name)]
        if deeper:
            remedy = (
                f"Type {kind}:{root / top} if its folders are the splits"
                if len(tops) == 1
                else "Put the folders of the splits outermost (train/CLASS, test/CLASS)"
            )
            raise StructureError(
                f"{root / top} holds images in {', '.join(deeper)}. Such names are those of splits, which {kind}: "
                f"takes from the folders directly in {root}: these images could be held out wrongly. {remedy}, or "
                f"'{kind}:{root}?splits=none' if they are no splits."
            )


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, sorted, without hidden ones and leftovers."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not is_leftover(entry.name))


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or left behind by a file system or an archiver."""
    return name.startswith(".") or name in LEFTOVERS


def files_below(top: Path) -> Iterator[Path]:
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


def has_images(top: Path) -> bool:
    """Whether an image that is not hidden lies in `top`, at any depth; stops at the first."""
    return any(
        _is_image(path) and not any(map(is_leftover, path.relative_to(top).parts[:-1])) for path in files_below(top)
    )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not is_leftover(path.name)
