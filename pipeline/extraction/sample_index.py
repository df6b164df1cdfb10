"""The sample index of a dataset split: ids, texts, labels and content digests, read once, saved beside the features."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from structure.pipeline.datasets.dataset import Dataset
from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.datasets.withdrawn_places import in_stored_places
from structure.pipeline.progress import Progress
from structure.pipeline.run_context import RunContext
from structure.store import SampleItem, Samples, Store
from structure.store.errors import BadSampleError, DamageError

READERS = 8
MOST_IN_BLOCK = 64
"""Samples that a thread reads at a time, of a large dataset."""

SHORT = 1e-4
"""Seconds a sample: below, as with small files that the system holds in memory, threads take turns in Python and are
two to three times slower than one."""

UNREADABLE = "unreadable"
"""The digest of a sample whose bytes cannot be read: it takes part in the table and is skipped by extraction."""


@dataclass(frozen=True)
class SampleIndex:
    """The rows to extract: their table, where the images come from (None = nowhere), and what opens them again."""

    samples: Samples
    dataset: Dataset | None
    spec: str


def open_rows(
    context: RunContext,
    spec: str,
    *,
    split: str | None,
    limit: int | None = None,
    append: bool = False,
    skip_bad: bool = True,
    save: bool = True,
) -> SampleIndex:
    """Open a dataset and read its sample index. Raises as `open_dataset` and `read_samples` do."""
    dataset = open_dataset(spec, split=split, data_root=context.data_root)
    dataset = without_withdrawn(context, dataset, split=split_name(dataset.split, limit))
    samples = read_samples(context, dataset, limit=limit, append=append, skip_bad=skip_bad, save=save)
    return SampleIndex(samples, dataset, spec)


def split_name(split: str, limit: int | None) -> str:
    """The split's name in the store: the first N samples of a split are a split of their own."""
    return split if limit is None else f"{split}.first{limit}"


def without_withdrawn(context: RunContext, dataset: Dataset, *, split: str) -> Dataset:
    """The dataset as the store knows it: samples that were withdrawn from it keep their places and are not read."""
    try:
        stored = Samples.read(context.store.files, dataset.name, split)
    except (FileNotFoundError, DamageError):
        return dataset
    found = in_stored_places(dataset, stored)
    if found is not dataset:
        count = int(stored.is_withdrawn.sum())
        context.note(f"{dataset.name}/{split}: {count:,} withdrawn sample{'s are' if count > 1 else ' is'} left out")
    return found


def read_samples(
    context: RunContext,
    dataset: Dataset,
    *,
    limit: int | None = None,
    append: bool = False,
    skip_bad: bool = True,
    save: bool = True,
) -> Samples:
    """Build the sample index and save it in the store; without `save` (a dry run) nothing is written.

    Images whose stamp (size and time) has not changed since the last time keep their digest; all others are read
    and hashed. Raises FingerprintError if the rows are not those of an earlier extraction (followed by new ones, under
    `append`).
    """
    count = len(dataset) if limit is None else min(limit, len(dataset))
    split = split_name(dataset.split, limit)
    known = _known(context.store, dataset.name, split)

    for note in dataset.notes:
        context.note(note)

    def sample(index: int) -> SampleItem:
        try:
            item = dataset.item(index)
        except BadSampleError as error:
            if not skip_bad:
                raise
            # It keeps its place, so that row numbers stay the dataset's; without a text it is in no pair.
            context.note(f"{error}")
            return SampleItem(error.item, digest=UNREADABLE)
        stamp = dataset.stamp(index)
        earlier = known.get(item.id)
        if earlier is not None and stamp and earlier[0] == stamp:
            digest = earlier[1]
        else:
            try:
                digest = dataset.digest(index)
            except BadSampleError as error:
                digest = UNREADABLE
                context.note(f"{error}")
        return SampleItem(item.id, item.captions, digest, stamp, item.labels)

    def samples_of(block: range) -> list[SampleItem]:
        return [sample(index) for index in block]

    items: list[SampleItem] = []

    def take(block: list[SampleItem]) -> None:
        items.extend(block)
        context.on_event(Progress(f"reading {dataset.name}/{split}", len(items), count, "samples"))

    size = min(MOST_IN_BLOCK, -(-count // (4 * READERS)) or 1)  # a task for each sample costs more than most samples
    blocks = (range(start, min(start + size, count)) for start in range(0, count, size))
    for block in blocks:
        began = time.perf_counter()
        take(samples_of(block))
        if time.perf_counter() - began > SHORT * len(block):
            break
    with ThreadPoolExecutor(READERS) as pool:
        for found in pool.map(samples_of, blocks):
            take(found)
    tasks = {
        name: {"classes": list(task.classes), "templates": list(task.templates), "source": task.source}
        for name, task in dataset.tasks.items()
    }
    samples = Samples.build(dataset.name, split, items, tasks=tasks, kind=dataset.kind)
    return context.store.put_samples(samples, append=append) if save else samples


def _known(store: Store, dataset: str, split: str) -> dict[str, tuple[str, str]]:
    """Sample id -> (stamp, digest) of the last time; nothing where the table is absent or damaged."""
    try:
        return Samples.read(store.files, dataset, split).digests
    except (FileNotFoundError, DamageError):
        return {}
