"""Which images a split has and of which class, as DTD, Food-101, Pets, Flowers, ImageNet and UCF101 say it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from structure.pipeline.datasets.dataset import Task
from structure.pipeline.datasets.image_files import SUFFIXES
from structure.pipeline.datasets.pixel_files import read_mat
from structure.pipeline.datasets.text_lines import read_lines
from structure.store.errors import StructureError


@dataclass(frozen=True)
class Photos:
    """`photos` are (path relative to the folder, class index); `task` names the classes."""

    photos: tuple[tuple[str, int], ...]
    task: Task


def dtd(root: Path, split: str) -> Photos:
    """`labels/<split>1.txt` (the first of ten partitions) lists `<class>/<image>` below `images`."""
    file = root / "labels" / f"{split}1.txt"
    names = [line for _, line in _lines(file)]
    _every(file, names, r"[^/]+/[^/]+", "<class>/<image>")
    classes = sorted(path.name for path in (root / "images").iterdir() if path.is_dir())
    return _by_name([(f"images/{name}", name.split("/")[0]) for name in names], classes, "folder names of dtd", file)


def food101(root: Path, split: str) -> Photos:
    """`meta/<split>.txt` lists `<class>/<number>` below `images`; `meta/labels.txt` names the classes in order."""
    file = root / "meta" / f"{split}.txt"
    names = [line for _, line in _lines(file)]
    _every(file, names, r"[^/]+/[^/]+", "<class>/<number>")
    folders = [line for _, line in _lines(root / "meta" / "classes.txt")]
    photos = [(f"images/{name}.jpg", name.split("/")[0]) for name in names]
    found = _by_name(photos, folders, "meta/classes.txt", file)
    labels = root / "meta" / "labels.txt"
    if not labels.is_file():
        return found
    shown = tuple(line for _, line in _lines(labels))
    return Photos(found.photos, Task(shown, source="meta/labels.txt of food-101"))


def pets(root: Path, split: str) -> Photos:
    """`annotations/<split>.txt`: image, class from 1, species, breed number. Classes are called as in the names."""
    photos, names = [], {}
    file = root / "annotations" / f"{split}.txt"
    for number, line in _lines(file):
        words = line.split()
        if len(words) != 4 or not words[1].isdigit() or not re.fullmatch(r"\w+_[0-9]+", words[0]):
            raise StructureError(f"{file}, line {number} is not 'Breed_1 class species breed': {line[:80]!r}.")
        label = int(words[1]) - 1
        photos.append((f"images/{words[0]}.jpg", label))
        names[label] = words[0].rpartition("_")[0].replace("_", " ")
    classes = tuple(names.get(label, "") for label in range(max(names, default=-1) + 1))
    if not all(classes):
        raise StructureError(f"{file} has no image of class {classes.index('') + 1}: the list is cut. Get it again.")
    return Photos(tuple(photos), Task(classes, source="annotations of the pets"))


def flowers(root: Path, split: str) -> Photos:
    """`setid.mat` says which of `jpg/image_00001.jpg`, ... are in the split, `imagelabels.mat` their class from 1."""
    key = {"train": "trnid", "val": "valid", "test": "tstid"}[split]
    numbers = read_mat(root / "setid.mat", key)[key].reshape(-1).tolist()
    labels = read_mat(root / "imagelabels.mat", "labels")["labels"].reshape(-1).tolist()
    if max(numbers) > len(labels) or min(numbers) < 1:
        raise StructureError(
            f"{root / 'setid.mat'} names image {max(numbers)} and imagelabels.mat has {len(labels)} labels: the "
            "files are of two versions. Get both again."
        )
    from torchvision.datasets import Flowers102

    task = Task(tuple(Flowers102.classes), source="torchvision Flowers102.classes")
    return Photos(tuple((f"jpg/image_{n:05d}.jpg", int(labels[n - 1]) - 1) for n in numbers), task)


def imagenet(root: Path, split: str) -> Photos:
    """`<split>/<wnid>/*.JPEG`: 1,000 folders, numbered in sorted order as everywhere. They bring no names."""
    folders = sorted(path.name for path in (root / split).iterdir() if path.is_dir())
    strange = [name for name in folders if not re.fullmatch(r"n[0-9]{8}", name)]
    if strange or len(folders) != 1000:
        raise StructureError(
            f"{root / split} has {len(folders)} class folders"
            f"{f', one of them called {strange[0]}' if strange else ''}; ImageNet has 1,000, called n01440764 ... . "
            "Put the images of the validation set into their classes' folders (the script valprep.sh does that)."
        )
    return Photos(tuple(_in_folders(root, split, folders)), Task((), source="folders of ImageNet"))


def ucf101(root: Path, split: str) -> Photos:
    """Middle frames, `UCF-101-midframes/<Class_Name>/<video>.jpg`, with the lists `ucfTrainTestlist/*list01.txt`."""
    frames = root / "UCF-101-midframes"
    lists = root / "ucfTrainTestlist"
    order = [line.split()[-1] for _, line in _lines(lists / "classInd.txt")]
    folders = {path.name.replace("_", ""): path.name for path in frames.iterdir() if path.is_dir()}
    file = lists / f"{split}list01.txt"
    photos = []
    for number, line in _lines(file):
        found = re.fullmatch(r"(\w+)/(\w+)\.avi( [0-9]+)?", line)
        if found is None or found[1] not in order:
            raise StructureError(
                f"{file}, line {number} is not 'Class/video.avi' with a class of classInd.txt: {line!r}."
            )
        folder = folders.get(found[1], found[1])
        photos.append((f"UCF-101-midframes/{folder}/{found[2]}.jpg", order.index(found[1])))
    names = tuple(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) for name in order)
    return Photos(tuple(photos), Task(names, source="ucfTrainTestlist/classInd.txt"))


def eurosat(root: Path, split: str) -> Photos:
    """Class folders; there is no official split, so `all` is what is listed."""
    folders = sorted(path.name for path in root.iterdir() if path.is_dir())
    names = tuple(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) for name in folders)
    return Photos(tuple(_in_folders(root, "", folders)), Task(names, source="folder names of EuroSAT"))


LISTS: Mapping[str, Callable[[Path, str], Photos]] = {
    "dtd": dtd,
    "food101": food101,
    "pets": pets,
    "flowers102": flowers,
    "imagenet": imagenet,
    "ucf101": ucf101,
    "eurosat": eurosat,
}


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Number and text of every line that holds something; `#` begins a comment (the pets' lists have one)."""
    try:
        lines = read_lines(file)
    except UnicodeDecodeError as error:
        raise StructureError(f"{file} is not UTF-8 text: {error}. Get the file again.") from None
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.startswith("#"):
            yield number, line.strip()


def _every(file: Path, lines: list[str], pattern: str, form: str) -> None:
    for number, line in enumerate(lines, start=1):
        if not re.fullmatch(pattern, line) or ".." in line:
            raise StructureError(f"{file}, line {number} is not {form}: {line[:80]!r}. Get the file again.")


def _by_name(photos: list[tuple[str, str]], classes: list[str], source: str, file: Path) -> Photos:
    number = {name: index for index, name in enumerate(classes)}
    strange = sorted({name for _, name in photos} - number.keys())
    if strange:
        raise StructureError(f"{file} has the class {strange[0]}, and {source} lists {len(classes)} others.")
    shown = tuple(name.replace("_", " ") for name in classes)
    return Photos(tuple((path, number[name]) for path, name in photos), Task(shown, source=source))


def _in_folders(root: Path, part: str, folders: list[str]) -> Iterator[tuple[str, int]]:
    for label, name in enumerate(folders):
        for path in sorted((root / part / name).iterdir()):
            if path.suffix.lower() in SUFFIXES:
                yield path.relative_to(root).as_posix(), label
