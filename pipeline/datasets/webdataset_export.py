"""Writing a dataset as a local copy in CLIP_benchmark's webdataset layout."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np

from structure.pipeline.datasets.captions_text import join_captions
from structure.pipeline.datasets.dataset import Dataset, Item, Task
from structure.pipeline.datasets.decode_image import is_plain
from structure.pipeline.progress import Listener, Progress, silent
from structure.store.errors import StructureError, unknown

Form = Literal["classification", "multilabel", "retrieval"]


@dataclass(frozen=True)
class Export:
    """What was written: `unlabelled` counts samples that the task has no answer for and that are therefore left out."""

    folder: Path
    split: str
    form: Form
    items: int
    shards: int
    unlabelled: int


def export_webdataset(
    dataset: Dataset,
    folder: str | Path,
    *,
    split: str = "test",
    task: str | None = None,
    shard_items: int = 10_000,
    shard_bytes: int = 1_000_000_000,
    on_event: Listener = silent,
) -> Export:
    """Write `dataset` below `folder` (call it `wds_<name>`), as `folder/<split>/0.tar`, `1.tar`, ... .

    `task=None` writes captions where the dataset has them and else labels of its only task; a task's name writes its
    labels. Images keep their bytes where every reader sees the same pixels in them (8-bit PNG, JPEG or WebP without
    transparency or orientation), and are else written as PNG. The same dataset gives the same bytes.

    Shards appear under their names when they are whole, and nshards.txt last, so an interrupted export cannot pass for
    a whole one. Raises `StructureError` where `folder/<split>` has tars already, for an unknown task, and where no
    sample is left; `BadSampleError` for a sample that cannot be read: nothing is dropped.
    """
    root = Path(folder)
    target = root / split
    if any(target.glob("*.tar")) or (target / "nshards.txt").exists():
        raise StructureError(f"{target} has tars already; a second export would mix with them. Choose another folder.")
    if dataset.videos:
        raise StructureError(
            f"{dataset.name} has {dataset.videos:,} videos among its {len(dataset):,} samples; CLIP_benchmark's tars "
            "hold images, and one frame is not the video. Export a dataset of images."
        )
    name, form = _task(dataset, task)
    target.mkdir(parents=True, exist_ok=True)
    shard, items = _Shard(target, 0), 0
    try:
        for index in range(len(dataset)):
            item = dataset.item(index)
            if name is not None and name not in item.labels:
                continue
            if shard.items >= shard_items or shard.bytes >= shard_bytes:
                shard.keep()
                shard = _Shard(target, shard.number + 1)
            shard.add(f"s{items:07d}", {**_image(dataset, index), **_label(item, name, form, dataset.tasks)})
            items += 1
            on_event(Progress(f"exporting {dataset.name}", index + 1, len(dataset), "samples"))
        if items:
            shard.keep()
    finally:
        shard.discard()
    if not items:
        raise StructureError(
            f"Dataset {dataset.name} split {dataset.split}: 0 of {len(dataset)} samples have a label for {name}."
        )
    for file, lines in _texts(dataset, name, form):
        (root / file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (target / "nshards.txt").write_text(f"{shard.number + 1}\n", encoding="utf-8")
    return Export(root, split, form, items, shard.number + 1, len(dataset) - items)


def _task(dataset: Dataset, task: str | None) -> tuple[str | None, Form]:
    """The task whose labels are written (None = captions), and the form of the copy."""
    if task is None and dataset.kind == "retrieval":
        return None, "retrieval"
    if task is None and len(dataset.tasks) != 1:
        raise StructureError(
            f"Dataset {dataset.name} has no captions to write and {len(dataset.tasks)} tasks"
            f"{': ' + ', '.join(dataset.tasks) + '. Name one of them' if dataset.tasks else '; this layout needs one'}."
        )
    name = next(iter(dataset.tasks)) if task is None else task
    if name not in dataset.tasks:
        raise unknown(f"task of {dataset.name}", name, dataset.tasks)
    return name, "multilabel" if dataset.kind == "multilabel" else "classification"


def _label(item: Item, name: str | None, form: Form, tasks: Mapping[str, Task]) -> dict[str, bytes]:
    if name is None:
        return {"txt": join_captions(item.captions).encode()}
    label = item.labels[name]
    if form == "classification":
        return {"cls": str(label).encode()}
    vector = np.zeros(len(tasks[name].classes), np.int64)
    vector[list(label) if isinstance(label, tuple) else label] = 1
    buffer = BytesIO()
    np.save(buffer, vector, allow_pickle=False)
    return {"npy": buffer.getvalue()}


def _texts(dataset: Dataset, name: str | None, form: Form) -> Iterator[tuple[str, tuple[str, ...]]]:
    if form != "classification":
        yield "dataset_type.txt", (form,)
    if name is not None:
        task: Task = dataset.tasks[name]
        spread = [line for line in (*task.classes, *task.templates) if line != line.strip() or "\n" in line or not line]
        if spread:
            raise StructureError(
                f"Dataset {dataset.name}: the name or template {spread[0]!r} does not fit on a line of its own."
            )
        if task.classes:
            yield "classnames.txt", task.classes
        if task.templates:
            yield "zeroshot_classification_templates.txt", task.templates


def _image(dataset: Dataset, index: int) -> dict[str, bytes]:
    data = dataset.payload(index)
    ending = is_plain(data)
    image = dataset.image(index)  # also shows that it decodes, which a header alone does not
    if ending is not None:
        return {ending: data}
    buffer = BytesIO()
    image.save(buffer, format="PNG")
    return {"png": buffer.getvalue()}


class _Shard:
    """A tar under a temporary name until it is saved. Times and owners are zero: they would change the bytes."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self.items = self.bytes = 0
        self._path = folder / f"{number}.tar"
        self._partial = folder / f"{number}.tar.partial"
        self._tar = tarfile.open(self._partial, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 (closed in `keep` and `discard`)

    def add(self, key: str, members: dict[str, bytes]) -> None:
        for ending, data in members.items():
            entry = tarfile.TarInfo(f"{key}.{ending}")
            entry.size = len(data)
            self._tar.addfile(entry, BytesIO(data))
            self.bytes += len(data)
        self.items += 1

    def keep(self) -> None:
        self._tar.close()
        os.replace(self._partial, self._path)

    def discard(self) -> None:
        """Leaves nothing of a tar that was not saved."""
        self._tar.close()
        self._partial.unlink(missing_ok=True)
