"""Local copies in CLIP_benchmark's webdataset layout: `clip-benchmark:NAME`."""

from __future__ import annotations

import re
from pathlib import Path

from structure.pipeline.datasets.benchmark_folders import (
    benchmark_absent,
    benchmark_folder,
    benchmark_paths,
    get_copy,
    list_copies,
)
from structure.pipeline.datasets.caption_choice_sets import is_native, open_native
from structure.pipeline.datasets.catalogue import benchmark_names, raw_of_copy
from structure.pipeline.datasets.class_files import read_class_names, read_lines, read_templates
from structure.pipeline.datasets.dataset import Dataset, Task
from structure.pipeline.datasets.kind import DatasetKind, Got, Listing
from structure.pipeline.datasets.paths import folder_safe
from structure.pipeline.datasets.published_classification import RawKind
from structure.pipeline.datasets.tar_index import index_tar
from structure.pipeline.datasets.webdataset import TASKS, WebdatasetTars
from structure.pipeline.progress import Listener
from structure.store.errors import NotPresentError, StructureError, unknown

NAMES, TEMPLATES = "classnames.txt", "zeroshot_classification_templates.txt"


class BenchmarkCopyKind(DatasetKind):
    """`clip-benchmark:NAME`: the folder `wds_<name>` with `/` as `-`, below the data root or its `clip-benchmark`
    folder, or the path of such a folder. Default split `test`, as there. Sets that CLIP_benchmark reads from their
    authors' files (sugar_crepe, winoground, crossmodal3600, xtd10) are in folders of their own names.

    Where there is no copy and the set's published folder has the same test images, that is read (`raw_of_copy`).
    """

    form = "clip-benchmark:wds/vtab/cifar10"
    summary = "a folder in CLIP_benchmark's layout anywhere"
    how = "write one with structure datasets export"
    splits = ("test",)
    default_split = "test"

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> Dataset:
        if is_native(argument):
            return open_native(argument, split=split, data_root=data_root)
        for folder in benchmark_paths(argument, data_root):
            if folder.is_dir():
                return read_copy(folder, name=folder_safe(benchmark_folder(argument)), split=split)
        path = Path(argument).expanduser() if argument.startswith("~") else Path(argument)
        if path.is_dir():
            return read_copy(path, name=folder_safe(path.absolute().name), split=split)
        raw = raw_of_copy(argument.strip("/").removeprefix("wds/"))
        if raw is not None and split in (None, "test") and raw.find(data_root, raw.test):
            return RawKind(raw.name).open("", split=raw.test, data_root=data_root, seed=seed)
        raise benchmark_absent(argument, data_root)

    def listings(self, data_root: Path) -> list[Listing]:
        anywhere = Listing("clip-benchmark:PATH", self.summary, self.splits, self.default_split, None, "", self.how)
        return [anywhere, *list_copies(data_root)]

    def gettable(self) -> tuple[str, ...]:
        return tuple(f"clip-benchmark:wds/{name}" for name in benchmark_names())

    def get(self, argument: str, *, data_root: Path, on_event: Listener) -> Got:
        return get_copy(argument, data_root, on_event=on_event)


def read_copy(folder: Path, *, name: str, split: str | None = None) -> WebdatasetTars:
    """A copy in CLIP_benchmark's layout: classnames.txt, zeroshot_classification_templates.txt, dataset_type.txt and
    `<split>/nshards.txt`, `<split>/0.tar`, ... .

    Raises `StructureError` (file, line) for a template without `{c}`, an empty class name, an unknown type, a missing
    or wrong nshards.txt, a tar that it does not count, and `NotPresentError` for a tar that is missing.
    """
    splits = sorted(part.name for part in folder.iterdir() if part.is_dir() and any(part.glob("*.tar")))
    chosen_split = "test" if split is None else split
    if chosen_split not in splits:
        raise unknown("split", chosen_split, splits, hint=f"{folder} has {len(splits)} folder(s) with tars.")
    kind = _kind(folder / "dataset_type.txt")
    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if kind != "retrieval":
        classes, notes = read_class_names(folder / NAMES)
        templates = read_templates(folder / TEMPLATES)
    read = " and ".join(file for file, lines in ((NAMES, classes), (TEMPLATES, templates)) if lines)
    task = Task(classes, templates, f"{folder.name}/{read}")
    tars = {file: index_tar(file) for file in _counted_tars(folder / chosen_split)}
    shards = WebdatasetTars(name, chosen_split, kind, tars, task, escaped=True)
    shards.notes, shards.splits = notes, tuple(splits)
    return shards


def _kind(file: Path) -> str:
    kind = (read_lines(file) or ["classification"])[0]
    if kind not in TASKS:
        raise unknown(f"dataset type in {file}", kind, TASKS)
    return kind


def _counted_tars(folder: Path) -> list[Path]:
    file = folder / "nshards.txt"
    tars = sorted(path.name for path in folder.glob("*.tar"))
    if not file.is_file():
        raise StructureError(
            f"{file} is missing; it says how many tars there should be, and {len(tars)} are there. Without it nobody "
            f"sees that one is lacking. If they are all there: echo {len(tars)} > {file}"
        )
    text = file.read_text(encoding="utf-8", errors="replace").strip()
    if not re.fullmatch(r"[1-9][0-9]{0,6}", text):
        raise StructureError(
            f"{file} holds {text[:40]!r}; it must hold the number of tars, 1 or more. {len(tars)} are there."
        )
    expected = [f"{number}.tar" for number in range(int(text))]
    lacking = [name for name in expected if name not in tars]
    if lacking:
        raise NotPresentError(
            f"{folder} lacks {len(lacking)} of {len(expected)} tars, the first is {lacking[0]} ({file.name} says "
            f"{len(expected)}). A result over a part would be taken for the whole. Get the missing tars."
        )
    extra = [name for name in tars if name not in expected]
    if extra:
        raise StructureError(
            f"{folder} has {len(tars)} tars and {file.name} says {len(expected)}: {extra[0]} would be left out. "
            "Correct the number, or move the tar away."
        )
    return [folder / name for name in expected]
