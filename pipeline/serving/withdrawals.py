"""Samples that are withdrawn from the store while a server runs: they are found and shown no longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np

from structure.pipeline.inference.gallery import GallerySplit, SplitGallery
from structure.pipeline.serving.refused import RefusedError
from structure.store import Samples, Store
from structure.store.errors import StructureError
from structure.store.local_files import LocalFiles
from structure.store.withdrawn import withdrawn_rows

REMOTE_SECONDS = 10.0
"""How often a store that is not a folder is asked: a question there takes as long as a search."""

Stamp: TypeAlias = tuple[int, float]
"""Size in bytes and time of a file."""


class Withdrawals:
    """Watches the sample indexes of what is searched, by size and time. `refresh` may be called by any thread."""

    def __init__(self, store: Store, galleries: Iterable[SplitGallery]) -> None:
        self.store, self.galleries = store, tuple(galleries)
        self._alone = threading.Lock()
        self._seconds = 0.0 if isinstance(store.files, LocalFiles) else REMOTE_SECONDS
        self._asked = time.monotonic()
        names = {(split.samples.dataset, split.samples.split) for gallery in self.galleries for split in gallery.splits}
        self._stamps = {name: self._stamp(*name) for name in names}

    def refresh(self) -> list[tuple[SplitGallery, np.ndarray]]:
        """Galleries with the numbers of rows that were withdrawn since the last time; they are not `usable` any more.
        Where a sample index was removed, that is all of its rows.

        Raises RefusedError where the store does not answer or an index cannot be read: it is then not known what was
        withdrawn. The next call asks again.
        """
        with self._alone:
            if time.monotonic() - self._asked < self._seconds:
                return []
            stamps = {name: self._stamp(*name) for name in self._stamps}
            changed = {name for name, before in self._stamps.items() if stamps[name] != before}
            gone = [(gallery, self._gone(gallery, changed, stamps)) for gallery in self.galleries] if changed else []
            self._asked, self._stamps = time.monotonic(), stamps
            for gallery, rows in gone:
                gallery.usable[rows] = False
            return gone

    def _stamp(self, dataset: str, split: str) -> Stamp | None:
        """None: the index was removed from a store that is there. One without any file is a folder that was moved, or
        a disk that is not mounted."""
        key = Samples.file(dataset, split)
        try:
            return self.store.files.size(key), self.store.files.modified(key)
        except FileNotFoundError:
            if not self._holds_anything():
                raise _unknown("The store of this server is not where it was") from None
            return None
        except (OSError, StructureError):
            raise _unknown("The store of this server does not answer") from None

    def _holds_anything(self) -> bool:
        try:
            return bool(self.store.files.children(""))
        except (OSError, StructureError):
            return False

    def _gone(
        self, gallery: SplitGallery, changed: set[tuple[str, str]], stamps: Mapping[tuple[str, str], Stamp | None]
    ) -> np.ndarray:
        parts = []
        for edge, split in zip(gallery.edges, gallery.splits, strict=False):
            name = (split.samples.dataset, split.samples.split)
            if name in changed:
                rows = np.arange(len(split)) if stamps[name] is None else self._withdrawn(split)
                parts.append(edge + rows)
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def _withdrawn(self, split: GallerySplit) -> np.ndarray:
        dataset, name = split.samples.dataset, split.samples.split
        try:
            samples = self.store.samples(dataset, name)
        except (OSError, StructureError):
            raise _unknown(f"The sample index of {dataset}/{name} cannot be read (`structure store verify`)") from None
        return withdrawn_rows(split.features, samples)


def _unknown(fact: str) -> RefusedError:
    """The reason is left to the terminal: it may name paths of this machine."""
    return RefusedError(
        503, f"{fact}, so that it is not known what was withdrawn: nothing is shown until it is. Ask again later."
    )
