"""Files behind an fsspec URL: object storage, or memory. An object appears whole or not at all."""

from __future__ import annotations

import errno
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from structure.store.errors import StructureError
from structure.store.files import Buffer, Files, Seen, check_key

T = TypeVar("T")

ATTEMPTS = 6
FIRST_WAIT = 0.2
"""Seconds before the second attempt; each further wait is twice as long, and up to half of it is left to chance."""

FINAL = (FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError)
"""What another attempt would meet again."""

_FINAL_NUMBERS = (errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENAMETOOLONG)

_ONE_AT_A_TIME = threading.Lock()  # memory:// looks and then writes: two threads of this process must not cross


class RemoteFiles(Files):
    """What transient faults of the network or the service break is tried again, with growing waits.

    `create` and `swap` are one conditional request where the service has them (S3: If-None-Match, If-Match); elsewhere
    they look, write, and look again.
    """

    readers = 16  # they wait for the service, mostly

    def __init__(self, file_system: Any, root: str, url: str, place: str = "") -> None:
        self._fs, self._root, self.url, self.place = file_system, root.rstrip("/"), url.rstrip("/"), place

    @classmethod
    def open(cls, url: str) -> RemoteFiles:
        """Raises StructureError where the URL means nothing or a package is missing."""
        from fsspec.core import url_to_fs

        # Listings are never cached: another process may be writing. Retries are ours, the same for every service.
        options: dict[str, Any] = {"use_listings_cache": False}
        if url.startswith(("s3://", "s3a://")):
            options["config_kwargs"] = {"retries": {"total_max_attempts": 1}, "max_pool_connections": 64}
            options["max_concurrency"] = 1  # a file is one request, not a HEAD and a GET; files are read side by side
        try:
            file_system, root = url_to_fs(url, **options)
        except (ImportError, ValueError) as error:
            extra = ' For S3: pip install "structure-align[s3]"' if url.startswith("s3") else ""
            raise StructureError(f"The store {url} cannot be opened: {error}.{extra}") from error
        if hasattr(file_system, "retries"):
            file_system.retries = 1
        return cls(file_system, root, url)

    def at(self, prefix: str) -> RemoteFiles:
        if not prefix:
            return self
        return RemoteFiles(self._fs, self._path(prefix), f"{self.url}/{check_key(prefix)}", self.key(prefix))

    def read(self, key: str) -> bytes:
        return bytes(self._tried(key, self._fs.cat_file, self._path(key)))

    def read_into(self, key: str, *buffers: memoryview, seen: Seen | None = None) -> int:
        data = memoryview(self.read(key))
        if len(data) == sum(len(buffer) for buffer in buffers):
            done = 0
            for number, buffer in enumerate(buffers):
                buffer[:] = data[done : done + len(buffer)]
                done += len(buffer)
                if seen is not None and number < len(buffers) - 1:
                    seen(buffer)
        return len(data)

    def view(self, key: str, start: int, stop: int) -> tuple[memoryview, int]:
        data = self.read(key)
        return memoryview(data if len(data) >= stop else b"")[start:stop], len(data)

    def write(self, key: str, *parts: Buffer) -> None:
        self._tried(key, self._fs.pipe_file, self._path(key), b"".join(parts))

    def create(self, key: str, data: Buffer) -> bool:
        body = bytes(data)
        with _ONE_AT_A_TIME:
            try:
                self._tried(key, self._fs.pipe_file, self._path(key), body, mode="create")
            except OSError as error:
                # Refused, since there is a file; or the answer to an attempt that did write it was lost.
                if isinstance(error, FINAL[2:]) or not self.exists(key):
                    raise
            with suppress(FileNotFoundError):
                return self.read(key) == body  # a service that ignores the condition lets the last of two writers win
            return False

    def swap(self, key: str, old: bytes, new: bytes | None) -> bool:
        path = self._path(key)
        with _ONE_AT_A_TIME:
            try:
                tag = self._tried(key, self._fs.info, path).get("ETag")
                if self.read(key) != old:
                    return False
                if new is None:
                    self.remove(key)
                elif tag is None:
                    self.write(key, new)
                else:
                    self._tried(key, self._fs.pipe_file, path, new, IfMatch=tag)
            except FileNotFoundError:
                return False
            except OSError as error:
                if error.errno != errno.EINVAL:  # 412, the condition failed: somebody was faster
                    raise
                with suppress(FileNotFoundError):
                    return self.read(key) == new
                return False
            return True

    def size(self, key: str) -> int:
        return int(self._tried(key, self._fs.info, self._path(key))["size"])

    def modified(self, key: str) -> float:
        return float(self._tried(key, self._fs.modified, self._path(key)).timestamp())

    def keys(self, prefix: str) -> list[str]:
        top = self._path(prefix)
        found = self._tried(prefix, self._fs.find, f"{top}/")
        return sorted(path.lstrip("/")[len(self._root.lstrip("/")) + 1 :] for path in found)

    def children(self, prefix: str) -> list[str]:
        top = self._path(prefix)
        try:
            entries = self._tried(prefix, self._fs.ls, f"{top}/", detail=True)
        except FileNotFoundError:
            return []
        names = {entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory"}
        return sorted(names)

    def remove(self, key: str) -> None:
        with suppress(FileNotFoundError):
            self._tried(key, self._fs.rm_file, self._path(key))

    def remove_tree(self, prefix: str) -> None:
        for key in self.keys(prefix):
            self.remove(key)

    def unfinished(self, prefix: str) -> list[str]:
        """Nothing: an object appears whole or not at all."""
        return []

    def free(self) -> int | None:
        return None

    def zarr_store(self, prefix: str) -> Any:
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(f"{self.url}/{check_key(prefix)}", read_only=True)

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}" if key else self._root

    def _tried(self, key: str, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """The call's answer; a transient fault is met by trying again. Raises StructureError when it does not pass."""
        for attempt in range(ATTEMPTS):
            try:
                return call(*arguments, **options)
            except FINAL:
                raise
            except Exception as error:  # each library has its own faults of the network
                if isinstance(error, OSError) and error.errno in _FINAL_NUMBERS:
                    raise
                fault = error
            if attempt + 1 < ATTEMPTS:
                time.sleep(FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.0))
        raise StructureError(
            f"The store {self.url} did not answer for {key or 'its root'} in {ATTEMPTS} attempts "
            f"({type(fault).__name__}: {fault}). Everything finished is saved. Run the same command again to go on."
        ) from fault
