"""Which datasets can be named, where they are looked for, and how to get them: `configs/datasets.yaml` as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from structure.pipeline.datasets.datasets_yaml import config
from structure.pipeline.datasets.raw_catalogue import raw_sets
from structure.store.errors import NotPresentError, nearest, unknown


@dataclass(frozen=True)
class DatasetEntry:
    """A dataset with a name of its own. All paths are relative: folders to the data root, the others to the folder.

    `splits` gives the files that a split may be read from, in order of preference.
    """

    name: str
    summary: str
    folders: tuple[str, ...]
    pictures: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]
    get: str
    downloads: tuple[Mapping[str, Any], ...] = ()

    def root(self, data_root: Path) -> Path | None:
        """The dataset's folder, the first of `folders` that is there."""
        return next((data_root / name for name in self.folders if (data_root / name).is_dir()), None)

    def file(self, root: Path, split: str) -> Path | None:
        """The file that `split` is read from; None where it is absent. Raises `StructureError` for an unknown split."""
        if split not in self.splits:
            raise unknown(f"split of {self.name}", split, self.splits)
        return next((root / name for name in self.splits[split] if (root / name).is_file()), None)

    def picture_folder(self, root: Path, part: str = "") -> Path | None:
        """The folder of the pictures (of `part`, such as train2014), or None."""
        places = [root / name.replace("{part}", part) for name in self.pictures]
        return next((place for place in places if place.is_dir()), None)

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


@dataclass(frozen=True)
class Listing:
    """One line of `structure datasets`. `present` is None where that depends on the path in the name; `splits` are the
    ones that are there, or all that there can be where nothing is."""

    name: str
    summary: str
    splits: tuple[str, ...]
    present: bool | None
    where: str
    how: str

    def row(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)


@cache
def entries() -> Mapping[str, DatasetEntry]:
    """The datasets with names of their own: clotho, coco, flickr30k, flickr8k."""
    found = {}
    for name, values in config()["named"].items():
        splits = {split: tuple(names) for split, names in values["splits"].items()}
        folders, pictures = tuple(values["folders"]), tuple(values["pictures"])
        downloads = tuple(values.get("downloads", ()))
        found[name] = DatasetEntry(name, values["summary"], folders, pictures, splits, values["get"], downloads)
    return found


def benchmark_names() -> tuple[str, ...]:
    """CLIP_benchmark's 41 webdataset copies, without the prefix `wds/`."""
    return tuple(config()["benchmark"]["names"])


def benchmark_folder(name: str) -> str:
    """`wds/vtab/cifar10` or `vtab/cifar10` -> `wds_vtab-cifar10`; the folder's own name stays as it is."""
    bare = name.strip("/").removeprefix("wds/").removeprefix("wds_")
    return f"wds_{bare.replace('/', '-')}"


def benchmark_places(name: str, data_root: Path) -> list[Path]:
    """Where the copy `name` is looked for, in order."""
    folder = benchmark_folder(name)
    return [data_root / folder, data_root / "clip-benchmark" / folder]


def benchmark_absent(name: str, data_root: Path) -> NotPresentError:
    """The error for a copy that is not there; offers the nearest known names for one that is not known."""
    places = " and ".join(map(str, benchmark_places(name, data_root)))
    known = benchmark_names()
    bare = name.strip("/").removeprefix("wds/")
    here = [listing.name.removeprefix("clip-benchmark:wds/") for listing in _copies(data_root) if listing.present]
    close = [f"clip-benchmark:wds/{option}" for option in nearest(bare, dict.fromkeys([*here, *known]))]
    if bare in known:
        remedy = f"To get it: {_benchmark_get(benchmark_folder(name), data_root)}"
    elif close:
        remedy = f"CLIP_benchmark has no copy of that name. Did you mean {' or '.join(close)}?"
    else:
        remedy = "CLIP_benchmark has no copy of that name; `structure datasets` lists the names."
    return NotPresentError(
        f"Dataset clip-benchmark:{name} is not on this machine; looked for {places} (--data-root says where). {remedy}"
    )


def list_datasets(data_root: str | Path) -> list[Listing]:
    """What can be named, present or not. Looks at names of files only; opens nothing, asks no network."""
    root = Path(data_root)
    own = [
        Listing(
            name,
            values["summary"],
            tuple(values["splits"]),
            True if name.startswith("scenes") else None,
            "",
            values["get"],
        )
        for name, values in config()["own"].items()
    ]
    named = []
    for entry in entries().values():
        place, splits = entry.root(root), entry.present(root)
        where = str(place or root / entry.folders[0])
        how = entry.get.format(folder=where)
        named.append(Listing(entry.name, entry.summary, splits or tuple(entry.splits), bool(splits), where, how))
    raws = []
    for raw in raw_sets().values():
        splits = raw.present(root)
        found = raw.find(root, splits[0]) if splits else None
        where = str(found[0] if found else root / raw.into)
        raws.append(Listing(raw.name, raw.summary, splits or tuple(raw.splits), bool(splits), where, raw.how(root)))
    return [*own, *named, *raws, *_masked(root), *_copies(root)]


def _masked(data_root: Path) -> list[Listing]:
    """The segmentation sets."""
    found = []
    for name, values in config()["segmentation"].items():
        places = [data_root / folder for folder in values["folders"]]
        there = next((place for place in places if all((place / part).exists() for part in values["needs"])), None)
        how = values["get"].format(folder=places[0])
        found.append(Listing(name, values["summary"], ("val",), there is not None, str(there or places[0]), how))
    return found


def _copies(data_root: Path) -> list[Listing]:
    """CLIP_benchmark's copies, and whatever else is there in its layout."""
    known = {benchmark_folder(name): name for name in benchmark_names()}
    there = {
        path.name: path
        for folder in (data_root / "clip-benchmark", data_root)
        if folder.is_dir()
        for path in sorted(folder.glob("wds_*"))
        if path.is_dir()
    }
    found = []
    for folder in [*known, *sorted(there.keys() - known.keys())]:
        path = there.get(folder)
        splits = tuple(sorted(count.parent.name for count in path.glob("*/nshards.txt"))) if path else ()
        name = f"clip-benchmark:wds/{known.get(folder, folder.removeprefix('wds_'))}"
        summary = "a copy in CLIP_benchmark's layout"
        how = _benchmark_get(folder, data_root)
        found.append(Listing(name, summary, splits or ("test",), bool(splits), str(path or data_root / folder), how))
    return found


def _benchmark_get(folder: str, data_root: Path) -> str:
    text: str = config()["benchmark"]["get"]
    known = {benchmark_folder(name): name for name in benchmark_names()}
    name = f"clip-benchmark:wds/{known.get(folder, folder.removeprefix('wds_'))}"
    return text.format(copy=folder, folder=data_root / folder, name=name)
