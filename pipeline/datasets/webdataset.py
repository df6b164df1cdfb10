"""Images in webdataset tars: `wds:PATTERN`, and what CLIP_benchmark's copies are made of."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from structure.pipeline.datasets.class_files import read_class_names
from structure.pipeline.datasets.dataset import Dataset, Item, Task, within
from structure.pipeline.datasets.image_files import stamp
from structure.pipeline.datasets.kind import DatasetKind
from structure.pipeline.datasets.paths import folder_safe
from structure.pipeline.datasets.spec import typed
from structure.pipeline.datasets.split_names import choose_split, hinted, meaning
from structure.pipeline.datasets.splits import choose
from structure.pipeline.datasets.tar_index import Group, index_tar, read_member
from structure.pipeline.datasets.webdataset_samples import IMAGE_ENDINGS, Sample, kind_of, read_sample
from structure.store.errors import BadSampleError, NotPresentError, StructureError

if TYPE_CHECKING:
    from PIL import Image

TASKS = ("classification", "multilabel", "retrieval")


class WebdatasetTars(Dataset):
    """Samples of plain tars in the order of shards and members. Opening reads every header and every label or caption
    once; an image is then one seek and one read, in any order. Ids are `<split>/<shard>/<key>`.

    `tars` has the groups of each file, `escaped` is that of `read_sample`. Raises `StructureError` (file, member) for a
    label outside the class list and where no sample can be read. One without image, label or captions, or whose members
    do not read, is a `BadSampleError` when it is read.
    """

    def __init__(
        self, name: str, split: str, kind: str, tars: Mapping[Path, Sequence[Group]], task: Task, *, escaped: bool
    ) -> None:
        self.name, self.split, self.kind = name, split, kind
        self.files = tuple(tars)
        self.samples = tuple(
            read_sample(f"{split}/{file.stem}/{group.key}", number, file, group, kind=kind, escaped=escaped)
            for number, (file, groups) in enumerate(tars.items())
            for group in groups
        )
        self.notes = tuple(self._told(group for groups in tars.values() for group in groups))
        self.tasks = {} if kind == "retrieval" else {"label": task}
        if not self.samples:
            raise StructureError(f"{', '.join(map(str, self.files[:3]))}: {len(self.files)} tar(s) with 0 samples.")
        if all(sample.problem for sample in self.samples):
            raise StructureError(f"None of {len(self.samples)} samples can be read. {self.samples[0].problem}.")
        if task.classes:
            self._require_labels_within(task)

    def __len__(self) -> int:
        return len(self.samples)

    def item(self, index: int) -> Item:
        sample = self._whole(index)
        return Item(sample.id, sample.captions, {} if sample.label is None else {"label": sample.label})

    def payload(self, index: int) -> bytes:
        sample = self._whole(index)
        assert sample.image is not None
        return read_member(self.files[sample.shard], sample.image, item=sample.id)

    def image(self, index: int) -> Image.Image:
        from structure.pipeline.datasets.decode_image import decode

        data = self.payload(index)
        sample = self.samples[index]
        assert sample.image is not None
        source = f"{self.files[sample.shard]}, member {sample.image.name}"
        return decode(data, item=sample.id, source=source, pixels=self.pixels)

    def stamp(self, index: int) -> str:
        return stamp(str(self.files[self.samples[within(index, len(self))].shard]))

    def _told(self, groups: Iterable[Group]) -> Iterator[str]:
        differing = sum(sample.other_caption for sample in self.samples)
        if differing:
            yield f"{differing} samples have another caption in .json than in .txt; .txt is read"
        endings = [frozenset(group.members) for group in groups]
        several = [found for each in endings if len(found := [end for end in IMAGE_ENDINGS if end in each]) > 1]
        if several:
            rest = " and ".join(f".{ending}" for ending in several[0][1:])
            yield f"{len(several)} samples have several images: .{several[0][0]} is read, {rest} is not"
        labels = sum(not each.isdisjoint(("cls", "npy")) for each in endings) if self.kind == "retrieval" else 0
        if labels:
            yield f"{labels} samples have a label (.cls, .npy) beside their captions, which is not read"

    def _whole(self, index: int) -> Sample:
        sample = self.samples[within(index, len(self))]
        if sample.problem:
            raise BadSampleError(sample.id, sample.problem)
        return sample

    def _require_labels_within(self, task: Task) -> None:
        count = len(task.classes)
        for sample in self.samples:
            labels = sample.label if isinstance(sample.label, tuple) else (sample.label or 0,)
            wrong = [label for label in labels if not 0 <= label < count]
            if wrong:
                raise StructureError(
                    f"{self.files[sample.shard]}, member {sample.id.rpartition('/')[2]}: label {wrong[0]} is outside "
                    f"the class list, which has {count} names (0 to {count - 1}; {task.source}). Classes would be "
                    "counted wrongly. Put the missing names into classnames.txt, one per line."
                )


class WebdatasetKind(DatasetKind):
    """`wds:PATTERN`: tars by braces (`{000..012}`, `{a,b}`), by `*`, or all in a folder (or in the folders in it), in
    sorted order. Members
    `.txt` (captions, one per line, as they are written), `.json` with `caption`, or `.cls` (label; `classnames.txt`
    beside the tars names them) say the task. A caption of the `.json` wins over a `.txt` that holds it cut into lines.

    Splits: those that the names of the tars or their folders say, where each says one (`train-000.tar`, `val/000.tar`),
    or the folders inside them;
    else `all`, or a seeded `train`, `val`, `test` by a hash of the id. The dataset is called as the tars' folder.
    """

    form = "wds:PATTERN"
    summary = "webdataset tars, such as 'shards/{000..012}.tar'"
    how = "plain tars with an image and .txt (captions, one per line), .json (caption) or .cls (label) per key"
    options: Mapping[str, str] = {"splits": "none: words in the names of the tars are no splits"}

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> Dataset:
        files = expand(argument) or expand(str(data_root / argument))
        if not files:
            raise NotPresentError(
                f"wds:{argument} names no tar that is there; looked from {Path.cwd()} and {data_root.absolute()}. A "
                "pattern is a folder of tars, or such as 'shards/{000..012}.tar' or 'shards/*.tar'; quote it, or the "
                "shell expands it."
            )
        named = self.option("splits") != "none"
        parts = _parts(files, argument) if named else {}
        asked = choose_split(split, list(parts), hint="The names of the tars say it.") if parts else None
        files = files if asked is None else parts[asked]
        _require_own_names(files, by_split=False)
        folder = files[0].absolute().parent
        folder = folder.parent if parts and meaning(folder.name) else folder
        tars, splits = {file: index_tar(file) for file in files}, tuple(parts)
        if named and not parts and (splits := _inner_parts(tars, argument)):
            asked = choose_split(split, splits, hint="The folders inside the tars say it.")
            tars = {file: [group for group in groups if _inner_part(group) == asked] for file, groups in tars.items()}
        kind = kind_of(group for groups in tars.values() for group in groups)
        classes, notes = read_class_names(folder / "classnames.txt") if kind != "retrieval" else ((), ())
        task = Task(classes, (), f"{folder.name}/classnames.txt")
        shards = WebdatasetTars(folder_safe(folder.name), asked or "all", kind, tars, task, escaped=False)
        shards.notes += notes
        if asked is not None:
            shards.splits = splits
            return shards
        ids = [sample.id for sample in shards.samples]
        shards.split, chosen = choose(ids, split=split, seed=seed, source=argument)
        shards.samples = tuple(shards.samples[index] for index in chosen)
        return shards


def _require_own_names(files: Sequence[Path], *, by_split: bool) -> None:
    """Ids are made of the names of tars. `by_split`: tars in folders of two splits are never read together."""
    first: dict[tuple[str | None, str], Path] = {}
    for file in files:
        key = meaning(file.parent.name) if by_split else None, file.stem
        if first.setdefault(key, file) != file:
            raise StructureError(
                f"{first[key]} and {file} have the same name; ids are made of it and would repeat. Rename one."
            )


def _parts(files: Sequence[Path], argument: str) -> dict[str, list[Path]]:
    """Split -> tars, where the name of each, or of its folder, has a word for one and there are several; empty where
    none or all are alike.

    Raises `StructureError` where some names have such a word and others have not: the split that is drawn would hold
    out the wrong samples."""
    words = {file: {meaning(file.parent.name), hinted(file.stem)} - {None} for file in files}
    parts: dict[str, list[Path]] = {}
    for file, said in words.items():
        parts.setdefault((next(iter(said)) or "") if len(said) == 1 else "", []).append(file)
    if len(parts) == 1:
        return {}
    if "" in parts:
        named = next(split for split in parts if split)
        raise StructureError(
            f"wds:{argument}: {parts[named][0].name} is named as {named} and {parts[''][0].name} as no split: samples "
            f"could be held out wrongly. Name the tars of one split, such as wds:{parts[named][0]}, or type "
            f"{typed(f'wds:{argument}?splits=none')} if the words are no splits."
        )
    return parts


def _inner_parts(tars: Mapping[Path, Sequence[Group]], argument: str) -> tuple[str, ...]:
    """The splits that the folders inside the tars say (`train/0001.jpg`); none where they say none, or one alone.

    Raises `StructureError` where some samples lie in such folders and others do not."""
    first: dict[str, str] = {}
    for groups in tars.values():
        for group in groups:
            first.setdefault(_inner_part(group), group.key)
    parts = [part for part in first if part]
    if len(parts) > 1 and "" in first:
        raise StructureError(
            f"wds:{argument}: {first[parts[0]]} lies in a folder of the split {parts[0]} and {first['']} in none: "
            "samples could be held out wrongly. Write a tar for each split, such as train-000.tar, or type "
            f"{typed(f'wds:{argument}?splits=none')} if the folders are no splits."
        )
    return tuple(parts) if len(parts) > 1 else ()


def _inner_part(group: Group) -> str:
    """The part that a folder of a sample's key means, "" for none or several."""
    said = {part for name in group.key.split("/")[:-1] if (part := meaning(name))}
    return next(iter(said)) if len(said) == 1 else ""


def expand(pattern: str) -> list[Path]:
    """The tars that a pattern names, in its order, `*` in sorted order; none where not one of them exists.

    Raises `NotPresentError` where some exist and others do not, `StructureError` where two have the same file name.
    """
    if Path(pattern).is_dir():
        named = sorted(Path(pattern).glob("*.tar")) or sorted(Path(pattern).glob("*/*.tar"))
    else:
        named = [Path(match) for name in _braces(pattern) for match in (sorted(glob.glob(name)) or [name])]
    files = list(dict.fromkeys(named))
    lacking = [file for file in files if not file.is_file()]
    if len(lacking) == len(files):
        return []
    if lacking:
        raise NotPresentError(
            f"{len(lacking)} of the {len(files)} tars that wds:{pattern} names are not there, the first is "
            f"{lacking[0].absolute()}. Get them, or narrow the pattern."
        )
    _require_own_names(files, by_split=True)
    return files


def _braces(pattern: str) -> Iterator[str]:
    parts = re.split(r"(\{[^{}]*\})", pattern)
    choices = [_alternatives(part[1:-1]) if part.startswith("{") else [part] for part in parts]
    return map("".join, product(*choices))


def _alternatives(inside: str) -> list[str]:
    numbers = re.fullmatch(r"([0-9]+)\.\.([0-9]+)", inside)
    if numbers is None:
        return inside.split(",")
    low, high = numbers.groups()
    width = len(low) if low.startswith("0") else 0
    return [f"{number:0{width}d}" for number in range(int(low), int(high) + 1)]
