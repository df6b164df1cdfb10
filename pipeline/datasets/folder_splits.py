"""Whether the folders below a data set's folder are its parts (`train`, `test`, ...), and what lies in them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from structure.pipeline.datasets.image_files import VISUAL_SUFFIXES
from structure.pipeline.datasets.spec import typed
from structure.pipeline.datasets.split_names import hinted, meaning, split_folders, split_of
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
    images have names of splits and others have not, where words in longer names may mean splits (`seg_train`,
    `val2017`), and where such names stand deeper.
    """
    tops = [name for name in subfolders(root) if has_images(root / name)]
    if given is not None:
        return FolderSplits({}) if given == "none" else _given(tops, given, root)
    words = list({split_of(name): name for name in reversed(tops) if split_of(name)}.values())[::-1]
    how = (
        f"Say which: {_typed(root, kind, words)} (these are splits, all else is left out), or "
        f"{_typed(root, kind, ['none'])} (no folder is a split). Or move the folders apart."
    )
    splits = split_folders(tops, where=str(root), how=how)
    if splits and any(_is_image(path) for path in root.iterdir() if path.is_file()):
        raise StructureError(
            f"{root} has the folders {', '.join(splits.values())}, which are names of splits, and images beside them "
            f"that are in no split: they could be held out wrongly. {how}"
        )
    if not splits:
        _refuse_hinted(root, tops, kind)
        _refuse_deeper(root, tops, kind)
    return FolderSplits(splits)


def _given(tops: Sequence[str], given: str, root: Path) -> FolderSplits:
    chosen = [name.strip().strip("/") for name in given.split(",") if name.strip()]
    for name in chosen:
        if name not in tops and not ("/" in name and (root / name).is_dir() and has_images(root / name)):
            raise unknown("folder", name, tops, hint=f"These folders of {root} have images.")
    if not chosen:
        raise StructureError("splits= names no folder. Type splits=train,test, or splits=none.")
    ends = {name: name.rpartition("/")[2] for name in chosen}
    folders = {split_of(end) or hinted(end) or end: name for name, end in ends.items()}
    if len(folders) != len(chosen):
        raise StructureError(f"splits={given}: two of these folders mean the same split. Name one of them.")
    taken = {name.partition("/")[0] for name in chosen}
    return FolderSplits(folders, tuple(name for name in tops if name not in taken))


def _refuse_hinted(root: Path, tops: Sequence[str], kind: str) -> None:
    """Folders whose names are longer than a word for a split, and hold one: of two splits or more, with folders in
    them, or without any other folder beside them, they are probably splits and not classes."""
    hints = {name: part for name in tops if (part := hinted(name))}
    if len(set(hints.values())) < 2:
        return
    if len(hints) < len(tops) and not any(_inner(root / name) for name in hints):
        return
    folders = [_innermost(root, name) for name in {part: name for name, part in hints.items()}.values()]
    raise StructureError(
        f"{root} has {', '.join(hints)}, whose names speak of splits: the images could be held out wrongly, or counted "
        f"as classes. Say which: {_typed(root, kind, folders)} (these are splits, all else is left out), or "
        f"{_typed(root, kind, ['none'])} (no folder is a split)."
    )


def _typed(root: Path, kind: str, splits: Sequence[str]) -> str:
    return typed(f"{kind}:{root}?splits={','.join(splits)}")


def _inner(folder: Path) -> list[str]:
    return [name for name in subfolders(folder) if has_images(folder / name)]


def _innermost(root: Path, name: str) -> str:
    """`name`, or the folder of the same name in it that holds all of it, as archives often have."""
    inner = _inner(root / name)
    alone = inner == [name] and not any(_is_image(path) for path in (root / name).iterdir() if path.is_file())
    return f"{name}/{name}" if alone else name


def _refuse_deeper(root: Path, tops: Sequence[str], kind: str) -> None:
    """Splits inside the class folders, or inside folders around all: each would be drawn anew, and wrongly."""
    for top in tops:
        for folder, folders, _ in os.walk(root / top):
            folders[:] = sorted(name for name in folders if not is_leftover(name))
            deeper = [name for name in folders if meaning(name) and has_images(Path(folder, name))]
            if deeper:
                remedy = (
                    f"Type {typed(f'{kind}:{folder}')} if its folders are the splits"
                    if _holds_all(root, Path(folder))
                    else "Put the folders of the splits outermost (train/CLASS, test/CLASS)"
                )
                raise StructureError(
                    f"{folder} holds images in {', '.join(deeper)}. Such names are those of splits, which {kind}: "
                    f"takes from the folders directly in {root}: these images could be held out wrongly. {remedy}, or "
                    f"{_typed(root, kind, ['none'])} if they are no splits."
                )


def _holds_all(root: Path, folder: Path) -> bool:
    """Whether no folder with images lies beside `folder`, nor beside one around it."""
    around = [root, *(parent for parent in folder.parents if parent.is_relative_to(root) and parent != root)]
    return all(len(_inner(parent)) == 1 for parent in around)


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
    """Whether an image or a video that is not hidden lies in `top`, at any depth; stops at the first."""
    return any(
        _is_image(path) and not any(map(is_leftover, path.relative_to(top).parts[:-1])) for path in files_below(top)
    )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in VISUAL_SUFFIXES and not is_leftover(path.name)
