"""Published classification sets in their own folders: `cifar10`, `stl10`, `mnist`, `dtd`, `imagenet`, ..."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from structure.pipeline.datasets.catalogue import Raw, raw_sets
from structure.pipeline.datasets.class_files import read_lines
from structure.pipeline.datasets.dataset import Dataset, Task
from structure.pipeline.datasets.download import fetch_all
from structure.pipeline.datasets.kind import DatasetKind, Got, Listing
from structure.pipeline.datasets.labelled import LabelledArrays, LabelledFiles, Reader
from structure.pipeline.datasets.pixel_files import cifar_names, read_cifar, read_idx, read_stl10, read_svhn
from structure.pipeline.datasets.split_lists import LISTS
from structure.pipeline.datasets.splits import choose
from structure.pipeline.progress import Listener

DIGITS = tuple("0123456789")

ARRAYS: Mapping[str, tuple[Reader, Callable[[Path], Sequence[str]] | None]] = {
    "cifar10": (read_cifar, cifar_names),
    "cifar100": (read_cifar, cifar_names),
    "stl10": (read_stl10, read_lines),
    "mnist": (read_idx, None),
    "svhn": (read_svhn, None),
}
"""Sets of pixel files: their reader, and the reader of class names from the split's last file; None for digits."""


class RawKind(DatasetKind):
    """A set from its published folder below the data root: an entry of `configs/datasets.yaml` under `raw`, and a
    reader of that name in `ARRAYS` or in `split_lists.LISTS`."""

    argument = "none"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.form, self.summary, self.how = name, self.raw.summary, self.raw.get
        self.splits, self.default_split = tuple(self.raw.splits), self.raw.default

    @property
    def raw(self) -> Raw:
        return raw_sets()[self.name]

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> Dataset:
        """Raises `NotPresentError`, with how to get it, where a file of the split is missing, and `StructureError` for
        files that are not what their names say."""
        asked = split or self.default_split
        seeded = "all" in self.splits and asked in ("train", "val", "test")
        found = self.raw.find(data_root, "all" if seeded else asked)
        if found is None:
            raise self.raw.absent(data_root, "all" if seeded else asked)
        root, paths = found
        if self.name in LISTS:
            listed = LISTS[self.name](root, asked)
            ids = [path for path, _ in listed.photos]
            everything = (asked, list(range(len(ids))))
            named, chosen = choose(ids, split=asked, seed=seed, source=self.name) if seeded else everything
            return LabelledFiles(
                self.name,
                named,
                ids=[ids[i] for i in chosen],
                paths=[os.path.join(root, ids[i]) for i in chosen],
                labels=[listed.photos[i][1] for i in chosen],
                task=listed.task,
            )
        reader, read_names = ARRAYS[self.name]
        files = list(paths)
        if read_names is None:
            task = Task(DIGITS, source="the labels, which are digits")
        else:
            *files, names = paths
            task = Task(tuple(text.replace("_", " ") for text in read_names(names)), source=names.name)
        return LabelledArrays(self.name, asked, files=files, reader=reader, task=task)

    def listings(self, data_root: Path) -> list[Listing]:
        raw, present = self.raw, self.raw.present(data_root)
        found = raw.find(data_root, present[0]) if present else None
        where = str(found[0] if found else data_root / raw.into)
        splits, how = present or tuple(self.splits), raw.how(data_root)
        return [Listing(self.name, self.summary, splits, self.default_split, bool(present), where, how)]

    def gettable(self) -> tuple[str, ...]:
        return (self.name,)

    def get(self, argument: str, *, data_root: Path, on_event: Listener) -> Got:
        raw, folder = self.raw, data_root / self.raw.into
        present = raw.present(data_root)
        if present:
            return Got(self.name, folder, present, ())
        how = raw.get.format(folder=folder)
        fetched = fetch_all(self.name, raw.downloads, folder, how=how, on_event=on_event)
        present = raw.present(data_root)
        if not present:
            raise raw.absent(data_root, raw.default)
        return Got(self.name, folder, present, fetched)
