"""A folder of images as a dataset of its own in the store: read as it is now, encoded once, grown when it has more.

Samples keep the order in which they were met, because features grow at their end. A file that was changed is a new
sample; rows of files that are gone or were changed stay in the store and are left out.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from structure.pipeline.datasets.images import SPLIT, ImagesBelow
from structure.pipeline.extraction.sample_index import READERS, UNREADABLE, SampleIndex
from structure.pipeline.progress import Progress
from structure.pipeline.run_context import RunContext
from structure.store import SampleItem, Samples
from structure.store.errors import BadSampleError, DamageError
from structure.store.sample_table import withdrawn_id


def read_folder(context: RunContext, folder: str | Path, *, save: bool = True) -> tuple[SampleIndex, np.ndarray]:
    """The sample index of a folder's images, saved in the store where it can be written unless only a plan is made
    (without `save`), and which of its samples are in the folder now.

    Files whose size and time have not changed since the last time are not read. Raises as `ImagesBelow` does.
    """
    found = ImagesBelow(folder)
    for note in found.notes:
        context.note(note)
    known = _known(context, found.name)

    def described(index: int) -> SampleItem:
        item, stamp = found.ids[index], found.stamp(index)
        earlier = known.get(item)
        if earlier is not None and earlier[0] == stamp:
            return SampleItem(item, digest=earlier[1], stamp=stamp)
        try:
            digest = found.digest(index)
        except BadSampleError as error:
            digest = UNREADABLE
            context.note(f"{error}")
        same = earlier is None or earlier[1] == digest
        return SampleItem(item if same else f"{item}@{digest[:8]}", digest=digest, stamp=stamp)

    now: dict[str, SampleItem] = {}
    paths: dict[str, str] = {}
    with ThreadPoolExecutor(READERS) as pool:
        for done, sample in enumerate(pool.map(described, range(len(found))), start=1):
            if withdrawn_id(sample.id) not in known:  # a file of a sample that was withdrawn is not read again
                now[sample.id], paths[sample.id] = sample, found.paths[done - 1]
            context.on_event(Progress(f"reading {found.name}", done, len(found), "samples"))
    gone = {item: SampleItem(item, digest=digest, stamp=stamp) for item, (stamp, digest) in known.items()}
    samples = {item: now.get(item, old) for item, old in gone.items()} | now
    table = Samples.build(found.name, SPLIT, samples.values(), kind=found.kind)
    if save and context.store.files.writable:
        table = context.store.put_samples(table, append=True)
    listed = ImagesBelow(folder, ids=list(samples), paths=[paths.get(item, str(found.root / item)) for item in samples])
    index = SampleIndex(table, listed, f"images:{found.root.absolute()}")
    return index, np.array([item in now for item in samples])


def _known(context: RunContext, dataset: str) -> dict[str, tuple[str, str]]:
    """Sample id -> (stamp, digest) of the last time, in order."""
    try:
        return Samples.read(context.store.files, dataset, SPLIT).digests
    except (FileNotFoundError, DamageError):
        return {}
