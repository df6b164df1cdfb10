"""Samples that are withdrawn from the store while a server runs: they are found and shown no longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import numpy as np

from structure.pipeline.inference.gallery import GallerySplit, SplitGallery
from structure.store import Samples, Store
from structure.store.errors import StructureError
from structure.store.local_files import LocalFiles
from structure.store.withdrawn import withdrawn_rows

REMOTE_SECONDS = 10.0
"""How often a store that is not a folder is asked: a question there takes as long as a search."""


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
        Where a sample index was removed or cannot be read, that is all of its rows."""
        with self._alone:
            if time.monotonic() - self._asked < self._seconds:
                return []
            self._asked = time.monotonic()
            changed = {name for name, before in self._stamps.items() if self._stamp(*name) != before}
            if not changed:
                return []
            gone = [(gallery, self._gone(gallery, changed)) for gallery in self.galleries]
            self._stamps |= {name: self._stamp(*name) for name in changed}
            for gallery, rows in gone:
                gallery.usable[rows] = False
            return gone

    def _stamp(self, dataset: str, split: str) -> tuple[int, float] | None:
        key = Samples.file(dataset, split)
        try:
            return self.store.files.size(key), self.store.files.modified(key)
        except (OSError, StructureError):
            return None

    def _gone(self, gallery: SplitGallery, changed: set[tuple[str, str]]) -> np.ndarray:
        parts = [
            edge + self._withdrawn(split)
            for edge, split in zip(gallery.edges, gallery.splits, strict=False)
            if (split.samples.dataset, split.samples.split) in changed
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def _withdrawn(self, split: GallerySplit) -> np.ndarray:
        try:
            samples = self.store.samples(split.samples.dataset, split.samples.split)
        except StructureError:
            return np.arange(len(split))
        return withdrawn_rows(split.features, samples)
