"""Whole files under one root: read, written durably, created exclusively. What a folder and an object store share."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

from structure.store.errors import StructureError

Buffer = bytes | bytearray | memoryview
Seen = Callable[[memoryview], None]

WRITERS = 8
"""Threads that write files, waiting for the disk mostly."""

PIECE = 1 << 20
"""Bytes read at a time: what the checksum is then taken of is still in the cache."""

_PART = re.compile(r"(?!\.{1,2}$)[\w.@+=,()\[\]-]+", re.ASCII)


def check_key(key: str) -> str:
    """A key is a relative path of plain parts: nothing in it can lead outside the root."""
    if not all(_PART.fullmatch(part) for part in key.split("/")):
        raise StructureError(f"{key!r} cannot be a name in the store: use letters, digits and . _ - between slashes.")
    return key


def plain_name(text: str) -> str:
    """The text as one part of a key: what a key cannot hold, slashes too, becomes `_`."""
    return re.sub(r"[^\w.@+=,()\[\]-]", "_", text, flags=re.ASCII)


class _WriteThreads:
    """One pool of the process, as starting a thread takes as long as writing a small file; a forked process has it
    anew: the threads are not there."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="writes")
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="writes")


_write_threads = _WriteThreads()


def write_threads() -> ThreadPoolExecutor:
    """The threads that write files. Whoever submits waits for what was submitted; they are never shut down."""
    return _write_threads.pool


class Files(ABC):
    """A flat space of files named by keys such as `features/coco/train/dinov2/manifest.json`.

    `url` says where it lies: a path of this machine or an fsspec URL, either of which opens it again. A prefix is a
    key, or "" for the root. `readers` is how many files are worth reading at once.
    """

    url: str
    readers: int
    mapped = False
    """Whether `view` shows files in place, not copied."""
    place: str = ""
    """Where it lies below what was opened first, as a key; "" for the whole."""

    @property
    def writable(self) -> bool:
        """Whether a write may be tried; False where this machine forbids it."""
        return True

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of where it lies."""
        return self.url.rpartition("/")[2]

    def key(self, name: str) -> str:
        """What a file of that name here is called in what was opened first."""
        return f"{self.place}/{name}" if self.place else name

    @abstractmethod
    def at(self, prefix: str) -> Files:
        """The files below the prefix as a space of their own; it need not exist yet."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The whole file. Raises FileNotFoundError."""

    @abstractmethod
    def read_into(self, key: str, *buffers: memoryview, seen: Seen | None = None) -> int:
        """Fill the writable byte buffers in order; returns the file's size. Raises FileNotFoundError.

        `seen` is called with each piece of all buffers but the last as it arrives, while the processor's cache still
        holds it; one piece of memory may serve as several buffers. Where the file's size is not that of all buffers,
        nothing is read.
        """

    @abstractmethod
    def view(self, key: str, start: int, stop: int) -> tuple[memoryview, int]:
        """Bytes `[start, stop)`, read-only, and the file's size; no bytes where the file is shorter than `stop`. They
        stay what they are when the file is replaced or removed. Raises FileNotFoundError.
        """

    @abstractmethod
    def write(self, key: str, *parts: Buffer) -> None:
        """Write the whole file, replacing what is there in one step; durable when the call returns."""

    @abstractmethod
    def create(self, key: str, data: Buffer) -> bool:
        """Write the file only if there is none; False if there is one."""

    @abstractmethod
    def size(self, key: str) -> int:
        """Bytes of the file. Raises FileNotFoundError."""

    @abstractmethod
    def modified(self, key: str) -> float:
        """When the file was last written, seconds since the epoch. Raises FileNotFoundError."""

    @abstractmethod
    def swap(self, key: str, old: bytes, new: bytes | None) -> bool:
        """Write `new` (None: remove the file) only if the file still holds `old`; False if it does not.

        The same bytes again renew the modification time.
        """

    @abstractmethod
    def keys(self, prefix: str) -> list[str]:
        """Every key below the prefix, sorted."""

    @abstractmethod
    def children(self, prefix: str) -> list[str]:
        """Names of the folders directly below the prefix, sorted."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Remove the file; nothing happens if there is none."""

    @abstractmethod
    def remove_tree(self, prefix: str) -> None:
        """Remove every file below the prefix."""

    @abstractmethod
    def unfinished(self, prefix: str) -> list[str]:
        """Keys of what interrupted writes left below the prefix, sorted; `keys` never lists them."""

    @abstractmethod
    def free(self) -> int | None:
        """Bytes that can still be written, or None where nobody knows."""

    @abstractmethod
    def zarr_store(self, prefix: str) -> Any:
        """What zarr and xarray open as a store rooted at the prefix, read-only."""

    def write_together(self, files: Mapping[str, bytes]) -> None:
        """`write` each, in no order: they wait for the disk at the same time. All are durable when the call returns."""
        writes = [write_threads().submit(self.write, key, data) for key, data in files.items()]
        wait(writes)
        for written in writes:
            written.result()

    def exists(self, key: str) -> bool:
        """Whether there is a file of that name."""
        try:
            self.size(key)
        except FileNotFoundError:
            return False
        return True

    def holding(self, name: str) -> dict[str, float]:
        """Folders directly below the root that hold a file of that name -> when it was written; sorted."""
        found: dict[str, float] = {}
        for folder in self.children(""):
            with suppress(FileNotFoundError):
                found[folder] = self.modified(f"{folder}/{name}")
        return found

    def sweep(self, prefix: str) -> None:
        """Remove what interrupted writes left below the prefix; only when nobody writes there."""
        for key in self.unfinished(prefix):
            self.remove(key)
