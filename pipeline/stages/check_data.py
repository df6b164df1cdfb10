"""Whether data can be used, before anything is extracted: files, images, ids, captions, classes and leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from structure.pipeline.datasets.dataset import Dataset, Item
from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.datasets.perceptual_hash import difference_hash, near_pairs
from structure.pipeline.datasets.pixel_meaning import UnclearPixelsError
from structure.pipeline.datasets.pixel_report import (
    ImagePixels,
    cut_pixels_in_words,
    sample_values,
    unclear_pixels_in_words,
)
from structure.pipeline.encoders.tokens import TextPreprocess
from structure.pipeline.progress import Listener, Progress, silent
from structure.store.errors import BadSampleError, NotPresentError, StructureError

USUAL = ("train", "val", "test")
READERS = 8
EXAMPLES = 5
Level = Literal["error", "warning"]


@dataclass
class Problem:
    """One kind of fault: how often, and the first examples of it in words."""

    kind: str
    level: Level
    count: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        """How many are in none of the examples, each of which may tell of several."""
        return self.count - len(self.examples) if len(self.examples) == EXAMPLES else 0

    def add(self, told: str, *, count: int = 1) -> None:
        self.count += count
        if len(self.examples) < EXAMPLES:
            self.examples.append(told)


@dataclass(frozen=True)
class Check:
    """What was found. `splits`: samples, captions, most tokens of each; `classes`: samples of each class of each
    task."""

    dataset: str
    splits: tuple[dict[str, Any], ...]
    classes: tuple[dict[str, Any], ...]
    problems: tuple[Problem, ...]
    limit: int | None

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings may be."""
        return not any(problem.level == "error" for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """The document of `structure datasets check --json`."""
        return {
            "dataset": self.dataset,
            "ok": self.ok,
            "splits": list(self.splits),
            "problems": [vars(problem) for problem in self.problems],
            "classes": list(self.classes),
            "token_limit": self.limit,
        }


@dataclass
class _Read:
    """A sample as far as it could be read; `why` it could not."""

    name: str
    item: Item | None = None
    digest: str = ""
    likeness: np.ndarray | None = None
    why: str = ""
    pixels: ImagePixels | None = None


def check_data(
    spec: str,
    *,
    data_root: str | Path = "data",
    splits: Sequence[str] = (),
    tokenizer: TextPreprocess | None = None,
    on_event: Listener = silent,
) -> Check:
    """Read every sample of the splits (all that the data bring, else train, val and test) and say what is wrong.

    Errors: files that are missing or do not decode, images whose pixels have no agreed meaning (with the range of all
    values), samples without caption or with an empty one, an id or the same image in two splits. Warnings: a window
    that cuts much off, images of two splits that are nearly the same, images that repeat within a split, captions
    longer than `model` reads, classes without sample or much smaller than the largest. Raises StructureError where the
    data cannot be opened at all.
    """
    opened = _open(spec, splits, data_root)
    for dataset in opened:
        dataset.checks_pixels = False  # all of them are told at the end
    found = _Faults()
    read = {dataset.split: _read(dataset, found, on_event) for dataset in opened}
    rows = []
    for dataset in opened:
        items = [entry.item for entry in read[dataset.split] if entry.item is not None]
        captions = [caption for item in items for caption in item.captions]
        row: dict[str, Any] = {"split": dataset.split, "items": len(dataset), "readable": len(items)}
        row["captions"] = len(captions)
        if tokenizer is not None and captions:
            lengths = [len(tokens) + tokens.cut for tokens in tokenizer.many(captions)]
            row["longest caption (tokens)"] = max(lengths)
            for caption, length in zip(captions, lengths, strict=True):
                if tokenizer.limit is not None and length > tokenizer.limit:
                    found.add(
                        "caption over the limit",
                        "warning",
                        f"{length} tokens, {tokenizer.limit} are read: {caption[:60]!r}",
                    )
        rows.append(row)
    pixels = [entry.pixels for entries in read.values() for entry in entries if entry.pixels is not None]
    for count, told in unclear_pixels_in_words(spec, pixels):
        found.add("pixels without an agreed meaning", "error", told, count=count)
    if cut := cut_pixels_in_words(pixels, opened[0].pixels):
        found.add("pixels beyond the window", "warning", cut)
    _repeats(read, found)
    classes = [row for dataset in opened for row in _classes(dataset, read[dataset.split], found)]
    for note in dict.fromkeys(note for dataset in opened for note in dataset.notes):
        found.add("left out", "warning", note)
    limit = tokenizer.limit if tokenizer is not None else None
    return Check(spec, tuple(rows), tuple(classes), tuple(found.problems.values()), limit)


class _Faults:
    def __init__(self) -> None:
        self.problems: dict[str, Problem] = {}

    def add(self, kind: str, level: Level, told: str, *, count: int = 1) -> None:
        self.problems.setdefault(kind, Problem(kind, level)).add(told, count=count)


def _open(spec: str, splits: Sequence[str], data_root: str | Path) -> list[Dataset]:
    if splits:
        return [open_dataset(spec, split=split, data_root=data_root) for split in splits]
    opened: dict[str, Dataset] = {}
    first = open_dataset(spec, split=None, data_root=data_root)
    for split in first.splits or USUAL:
        try:
            dataset = open_dataset(spec, split=split, data_root=data_root)
        except NotPresentError:
            continue
        except StructureError:  # there is no such split, or it would be empty
            continue
        opened.setdefault(dataset.split, dataset)
    return [*opened.values()] or [first]


def _read(dataset: Dataset, found: _Faults, on_event: Listener) -> list[_Read]:
    def one(index: int) -> tuple[_Read, str]:
        entry = _Read(str(index))
        try:
            entry.item = dataset.item(index)
            entry.name = entry.item.id
        except BadSampleError as error:
            return _Read(error.item, why=str(error)), "caption or file missing"
        try:
            entry.digest = dataset.digest(index)
            try:
                entry.likeness = difference_hash(dataset.image(index))
            except BadSampleError:
                raise
            except StructureError:  # audio clips: they are decoded, and compared by their bytes alone
                dataset.audio(index)
            if dataset.pixels.has_range:
                entry.pixels = ImagePixels(entry.name, sample_values(dataset.payload(index), dataset.pixels))
        except UnclearPixelsError as error:
            entry.pixels = ImagePixels(entry.name, sample_values(dataset.payload(index), dataset.pixels), error)
        except BadSampleError as error:
            entry.why = str(error)
            return entry, "file missing or not readable"
        return entry, ""

    entries = []
    with ThreadPoolExecutor(READERS) as pool:
        for done, (entry, fault) in enumerate(pool.map(one, range(len(dataset))), start=1):
            if fault:
                found.add(fault, "error", f"{dataset.split}: {entry.why}")
            elif entry.item is not None and not all(caption.strip() for caption in entry.item.captions):
                found.add("empty caption", "error", f"{dataset.split}: {entry.name}")
            entries.append(entry)
            on_event(Progress(f"checking {dataset.name}/{dataset.split}", done, len(dataset), "samples"))
    return entries


def _repeats(read: dict[str, list[_Read]], found: _Faults) -> None:
    """Ids and images that stand in two splits, and images that stand twice in one."""
    for split, entries in read.items():
        seen: dict[str, str] = {}
        for entry in entries:
            if entry.digest and entry.digest in seen:
                found.add("image repeats in its split", "warning", f"{split}: {seen[entry.digest]} and {entry.name}")
            seen.setdefault(entry.digest, entry.name)
    for (first, ours), (second, theirs) in combinations(read.items(), 2):
        names = {entry.name for entry in ours}
        for entry in theirs:
            if entry.name in names:
                found.add("id in two splits", "error", f"{entry.name} is in {first} and {second}")
        digests = {entry.digest: entry.name for entry in ours if entry.digest}
        for entry in theirs:
            if entry.digest in digests:
                told = f"{digests[entry.digest]} ({first}) and {entry.name} ({second}) are the same file"
                found.add("image in two splits", "error", told)
        left = [entry for entry in ours if entry.likeness is not None]
        right = [entry for entry in theirs if entry.likeness is not None]
        if left and right:
            hashes = [np.stack([e.likeness for e in side if e.likeness is not None]) for side in (left, right)]
            for i, j in near_pairs(*hashes):
                if left[i].digest != right[j].digest:
                    told = f"{left[i].name} ({first}) and {right[j].name} ({second})"
                    found.add("images of two splits nearly the same", "warning", told)


MUCH_SMALLER = 20
"""A class with less than 1 / 20 of the largest one's samples is told."""


def _classes(dataset: Dataset, entries: Sequence[_Read], found: _Faults) -> list[dict[str, Any]]:
    rows = []
    for name, task in dataset.tasks.items():
        counts: Counter[int] = Counter()
        for entry in entries:
            label = entry.item.labels.get(name) if entry.item is not None else None
            counts.update([] if label is None else [label] if isinstance(label, int) else label)
        most = max(counts.values(), default=0)
        for number in range(len(task.classes) or max(counts, default=-1) + 1):
            called = task.classes[number] if task.classes else str(number)
            count = counts[number]
            rows.append({"split": dataset.split, "task": name, "class": called, "items": count})
            if not count:
                found.add("class without sample", "warning", f"{dataset.split}: {called} ({name})")
            elif count * MUCH_SMALLER < most:
                found.add(
                    "class much smaller than the largest", "warning", f"{dataset.split}: {called} has {count} of {most}"
                )
    return rows
