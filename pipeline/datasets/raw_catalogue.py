"""The classification sets whose published folders are read as they are: where they lie and what a split needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from structure.pipeline.datasets.datasets_yaml import config
from structure.store.errors import NotPresentError, unknown


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
class Raw:
    """A set by name. `folders` are tried in order below the data root; downloads go into `into`.

    `splits`: what must be there for a split, each a choice of paths inside the folder. `copy`: the name of
    CLIP_benchmark's copy that has the same test pictures, "" where there is none; `test`: the split they are in.
    """

    name: str
    summary: str
    folders: tuple[str, ...]
    into: str
    splits: Mapping[str, tuple[tuple[str, ...], ...]]
    default: str
    copy: str
    test: str
    get: str
    downloads: tuple[Download, ...]

    def find(self, data_root: Path, split: str) -> tuple[Path, tuple[Path, ...]] | None:
        """The folder and the paths that `split` needs, from the first folder that has them all; None without one.

        Raises `StructureError` for a split that the set does not have.
        """
        if split not in self.splits:
            raise unknown(f"split of {self.name}", split, self.splits)
        for folder in self.folders:
            root = data_root / folder
            found = [next((root / p for p in choice if (root / p).exists()), None) for choice in self.splits[split]]
            paths = tuple(path for path in found if path is not None)
            if len(paths) == len(found):
                return root, paths
        return None

    def present(self, data_root: Path) -> tuple[str, ...]:
        """The splits that are there."""
        return tuple(split for split in self.splits if self.find(data_root, split))

    def absent(self, data_root: Path, split: str) -> NotPresentError:
        """The error for a split that is not there: what it needs, where it was looked for, how to get it."""
        needed = ", ".join(" or ".join(choice) for choice in self.splits[split])
        looked = ", ".join(str(data_root / name) for name in self.folders)
        return NotPresentError(
            f"Dataset {self.name} split {split} is not on this machine: it needs {needed} in {looked} (--data-root "
            f"says where). To get it: {self.how(data_root)}"
        )

    def how(self, data_root: Path) -> str:
        """How the set is got, in words."""
        place = data_root / self.into
        command = f"structure datasets get {self.name}; or " if self.downloads else ""
        return command + self.get.format(folder=place)


@cache
def raw_sets() -> Mapping[str, Raw]:
    """All of them by name, from `configs/datasets.yaml`."""
    return {name: _raw(name, values) for name, values in config()["raw"].items()}


def raw_of_copy(copy: str) -> Raw | None:
    """The set whose test pictures CLIP_benchmark's copy `vtab/cifar10` (without `wds/`) holds."""
    return next((raw for raw in raw_sets().values() if raw.copy == copy), None)


def downloads_of(values: Iterable[Mapping[str, Any]]) -> tuple[Download, ...]:
    """The files that a list in the YAML names."""
    return tuple(Download(**entry) for entry in values)


def _raw(name: str, values: Mapping[str, Any]) -> Raw:
    splits = {
        split: tuple((choice,) if isinstance(choice, str) else tuple(choice) for choice in needed)
        for split, needed in values["splits"].items()
    }
    return Raw(
        name,
        values["summary"],
        tuple(values["folders"]),
        values["into"],
        splits,
        values.get("default", "test"),
        values.get("copy", ""),
        values.get("test", "test"),
        values["get"],
        downloads_of(values.get("downloads", ())),
    )
