"""`configs/datasets.yaml` as values: published datasets, where they are looked for, and how to get them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from structure.pipeline.yaml_file import YamlFile, parse_yaml
from structure.pipeline.yaml_record import read_record
from structure.store.errors import NotPresentError, unknown

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Download:
    """A file to fetch. `md5` or `sha256` as its publisher states it, "" where none is; `unpack`: it is an archive."""

    url: str
    md5: str = ""
    sha256: str = ""
    unpack: bool = True

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class DatasetEntry:
    """Images or audio clips with captions. All paths are relative: folders to the data root, the others to the folder.

    `splits` gives the files that a split may be read from, in order of preference.
    """

    name: str
    summary: str
    folders: tuple[str, ...]
    media: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]
    get: str
    downloads: tuple[Download, ...] = ()

    def root(self, data_root: Path) -> Path | None:
        """The dataset's folder, the first of `folders` that is there."""
        return next((data_root / name for name in self.folders if (data_root / name).is_dir()), None)

    def file(self, root: Path, split: str) -> Path | None:
        """The file that `split` is read from; None where it is absent. Raises `StructureError` for an unknown split."""
        if split not in self.splits:
            raise unknown(f"split of {self.name}", split, self.splits)
        return next((root / name for name in self.splits[split] if (root / name).is_file()), None)

    def media_folder(self, root: Path, part: str = "") -> Path | None:
        """The folder of the images or audio clips (of `part`, such as train2014), or None."""
        paths = [root / name.replace("{part}", part) for name in self.media]
        return next((path for path in paths if path.is_dir()), None)

    def present(self, data_root: Path) -> tuple[str, ...]:
        """The splits whose file is there."""
        root = self.root(data_root)
        return () if root is None else tuple(split for split in self.splits if self.file(root, split))

    def absent(self, data_root: Path, missing: str) -> NotPresentError:
        """The error for a part that is not there: what is missing, where it was looked for, how to get it."""
        looked = ", ".join(str(data_root / name) for name in self.folders)
        return NotPresentError(
            f"Dataset {self.name} is not complete on this machine: {missing}. Looked for in {looked} (--data-root says "
            f"where). To get it: {self.get.format(folder=self.root(data_root) or data_root / self.folders[0])}"
        )


@dataclass(frozen=True, kw_only=True)
class Raw:
    """A classification set. `folders` are tried in order below the data root; downloads go into `into`.

    `splits`: what must be there for a split, each a path inside the folder, or a choice of several. `copy`: the name of
    CLIP_benchmark's copy that has the same test images, "" where there is none; `test`: the split they are in.
    """

    name: str
    summary: str
    folders: tuple[str, ...]
    into: str
    splits: Mapping[str, tuple[str | tuple[str, ...], ...]]
    get: str
    default: str = "test"
    copy: str = ""
    test: str = "test"
    downloads: tuple[Download, ...] = ()

    def needs(self, split: str) -> list[tuple[str, ...]]:
        """What the split needs, each a choice of paths inside the folder."""
        return [(choice,) if isinstance(choice, str) else choice for choice in self.splits[split]]

    def find(self, data_root: Path, split: str) -> tuple[Path, tuple[Path, ...]] | None:
        """The folder and the paths that `split` needs, from the first folder that has them all; None without one.

        Raises `StructureError` for a split that the set does not have.
        """
        if split not in self.splits:
            raise unknown(f"split of {self.name}", split, self.splits)
        for folder in self.folders:
            root = data_root / folder
            chosen = [next((root / p for p in choice if (root / p).exists()), None) for choice in self.needs(split)]
            paths = tuple(path for path in chosen if path is not None)
            if len(paths) == len(chosen):
                return root, paths
        return None

    def present(self, data_root: Path) -> tuple[str, ...]:
        """The splits that are there."""
        return tuple(split for split in self.splits if self.find(data_root, split))

    def absent(self, data_root: Path, split: str) -> NotPresentError:
        """The error for a split that is not there: what it needs, where it was looked for, how to get it."""
        needed = ", ".join(" or ".join(choice) for choice in self.needs(split))
        looked = ", ".join(str(data_root / name) for name in self.folders)
        return NotPresentError(
            f"Dataset {self.name} split {split} is not on this machine: it needs {needed} in {looked} (--data-root "
            f"says where). To get it: {self.how(data_root)}"
        )

    def how(self, data_root: Path) -> str:
        """How the set is got, in words."""
        command = f"structure datasets get {self.name}; or " if self.downloads else ""
        return command + self.get.format(folder=data_root / self.into)


@dataclass(frozen=True, kw_only=True)
class SegmentationSet:
    """Images with masks. `folders` are tried in order below the data root; each must have all that the set `needs`.
    Mask values that are `ignored` count nowhere."""

    summary: str
    folders: tuple[str, ...]
    needs: tuple[str, ...]
    ignored: tuple[int, ...]
    get: str
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BenchmarkCopies:
    """CLIP_benchmark's webdataset copies: their `names` without the prefix `wds/`, and how to `get` one."""

    get: str
    names: tuple[str, ...]


@cache
def _file() -> YamlFile:
    """The file, with the sections `named`, `raw`, `segmentation` and `benchmark`."""
    text = files("structure.configs").joinpath("datasets.yaml").read_text(encoding="utf-8")
    return parse_yaml(text, name="configs/datasets.yaml")


def published_names(section: str) -> tuple[str, ...]:
    """The names of the sets in a section of the file, in its order."""
    return tuple(_file().named((section,)))


@cache
def entries() -> Mapping[str, DatasetEntry]:
    """The captioned sets: clotho, coco, flickr30k, flickr8k."""
    return {name: _record("named", name, DatasetEntry, given={"name": name}) for name in published_names("named")}


@cache
def raw_sets() -> Mapping[str, Raw]:
    """The classification sets whose published folders are read as they are."""
    return {name: _record("raw", name, Raw, given={"name": name}) for name in published_names("raw")}


@cache
def segmentation_set(name: str) -> SegmentationSet:
    """A set of images with masks."""
    return _record("segmentation", name, SegmentationSet)


@cache
def benchmark_copies() -> BenchmarkCopies:
    """CLIP_benchmark's webdataset copies."""
    return read_record(_file(), ("benchmark",), BenchmarkCopies, noun="benchmark")


def _record(section: str, name: str, kind: type[Entry], *, given: Mapping[str, Any] | None = None) -> Entry:
    return read_record(_file(), (section, name), kind, noun="dataset", given=given)


def raw_of_copy(copy: str) -> Raw | None:
    """The set whose test images CLIP_benchmark's copy `vtab/cifar10` (without `wds/`) holds."""
    return next((raw for raw in raw_sets().values() if raw.copy == copy), None)


def benchmark_names() -> tuple[str, ...]:
    """CLIP_benchmark's 41 webdataset copies, without the prefix `wds/`."""
    return benchmark_copies().names
