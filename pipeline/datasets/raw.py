"""Published classification sets in their own folders: `cifar10`, `stl10`, `mnist`, `dtd`, `imagenet`, ..."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from structure.pipeline.datasets.class_files import read_lines
from structure.pipeline.datasets.dataset import Dataset, Task
from structure.pipeline.datasets.labelled import LabelledArrays, LabelledFiles, Reader
from structure.pipeline.datasets.pixel_files import cifar_names, read_cifar, read_idx, read_stl10, read_svhn
from structure.pipeline.datasets.raw_catalogue import raw_sets
from structure.pipeline.datasets.split_lists import LISTS
from structure.pipeline.datasets.splits import choose

DIGITS = tuple("0123456789")


def open_raw(name: str, *, split: str | None, data_root: Path, seed: int) -> Dataset:
    """The set called `name` from its published folder below the data root.

    Default split `test` (ImageNet: `val`, EuroSAT: `all`). Raises `NotPresentError`, with how to get it, where a file
    of the split is missing, and `StructureError` for files that are not what their names say.
    """
    raw = raw_sets()[name]
    asked = split or raw.default
    seeded = "all" in raw.splits and asked in ("train", "val", "test")
    found = raw.find(data_root, "all" if seeded else asked)
    if found is None:
        raise raw.absent(data_root, "all" if seeded else asked)
    root, paths = found
    if name in LISTS:
        listed = LISTS[name](root, asked)
        ids = [path for path, _ in listed.photos]
        named, chosen = choose(ids, split=asked, seed=seed, source=name) if seeded else (asked, list(range(len(ids))))
        return LabelledFiles(
            name,
            named,
            ids=[ids[i] for i in chosen],
            paths=[os.path.join(root, ids[i]) for i in chosen],
            labels=[listed.photos[i][1] for i in chosen],
            task=listed.task,
        )
    if name in ("cifar10", "cifar100"):
        *files, names = paths
        return _arrays(name, asked, files, read_cifar, Task(cifar_names(names), source=names.name))
    if name == "stl10":
        *files, names = paths
        return _arrays(name, asked, files, read_stl10, Task(tuple(read_lines(names)), source=names.name))
    reader = {"mnist": read_idx, "svhn": read_svhn}[name]
    return _arrays(name, asked, paths, reader, Task(DIGITS, source="the labels, which are digits"))


def _arrays(name: str, split: str, files: Sequence[Path], reader: Reader, task: Task) -> Dataset:
    shown = replace(task, classes=tuple(text.replace("_", " ") for text in task.classes))
    return LabelledArrays(name, split, files=files, reader=reader, task=shown)
