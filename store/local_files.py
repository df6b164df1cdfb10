"""Files in a folder of this machine."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from structure.store.errors import NoSpaceError, ReadOnlyError
from structure.store.files import PIECE, Buffer, Files, Seen, check_key


class LocalFiles(Files):
    """Files in a folder of this machine. Writes go to a temporary name, are synced, and renamed into place."""

    readers = min(4, os.cpu_count() or 1)  # copying out of the page cache keeps a core busy
    mapped = True

    def __init__(self, root: str | Path, place: str = "") -> None:
        self.root, self.place = Path(root).expanduser().absolute(), place
        self.url = str(self.root)

    def path(self, key: str) -> Path:
        """Where a key lies on disk; the root for ""."""
        return self.root / check_key(key) if key else self.root

    def at(self, prefix: str) -> LocalFiles:
        return LocalFiles(self.path(prefix), self.key(prefix) if prefix else self.place)

    def read(self, key: str) -> bytes:
        return self.path(key).read_bytes()

    def read_into(self, key: str, *buffers: memoryview, seen: Seen | None = None) -> int:
        with open(f"{self.url}/{check_key(key)}", "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size == sum(len(buffer) for buffer in buffers):
                for number, buffer in enumerate(buffers):
                    done = 0
                    while done < len(buffer):
                        got = file.readinto(buffer[done : done + PIECE])
                        if not got:
                            raise OSError(errno.EIO, f"{key} became shorter while it was read")
                        if seen is not None and number < len(buffers) - 1:
                            seen(buffer[done : done + got])
                        done += got
            return size

    def view(self, key: str, start: int, stop: int) -> tuple[memoryview, int]:
        with open(f"{self.url}/{check_key(key)}", "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size < stop:
                return memoryview(b""), size
            page = start - start % mmap.ALLOCATIONGRANULARITY
            # Linux reads it now and ahead, here and not where the first byte of every page is asked for.
            flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
            whole = mmap.mmap(file.fileno(), stop - page, flags=flags, prot=mmap.PROT_READ, offset=page)
            return memoryview(whole)[start - page :], size

    def write(self, key: str, *parts: Buffer) -> None:
        path = self.path(key)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with _space(self, key, parts):
                path.parent.mkdir(parents=True, exist_ok=True)
                with temporary.open("xb", buffering=0) as file:
                    for part in parts:
                        _write_all(file.fileno(), part)
                    os.fsync(file.fileno())
                temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)

    def create(self, key: str, data: Buffer) -> bool:
        path = self.path(key)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with _space(self, key, (data,)):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(data)
                # A link either appears whole or fails: nobody ever reads half a lease.
                os.link(temporary, path)
            except FileExistsError:
                return False
            finally:
                with suppress(OSError):
                    temporary.unlink()
        return True

    def size(self, key: str) -> int:
        return self.path(key).stat().st_size

    def modified(self, key: str) -> float:
        return self.path(key).stat().st_mtime

    def swap(self, key: str, old: bytes, new: bytes | None) -> bool:
        path = self.path(key)
        try:
            with _locked(path.parent):
                if path.read_bytes() != old:
                    return False
                if new is None:
                    path.unlink()
                elif new == old:
                    os.utime(path)
                else:
                    self.write(key, new)
                return True
        except FileNotFoundError:
            return False

    def keys(self, prefix: str) -> list[str]:
        return sorted(self._walk(prefix, temporary=False))

    def unfinished(self, prefix: str) -> list[str]:
        return sorted(self._walk(prefix, temporary=True))

    def _walk(self, prefix: str, *, temporary: bool) -> Iterator[str]:
        for folder, _, names in os.walk(self.path(prefix)):
            for name in names:
                if _is_temporary(name) == temporary:
                    yield (Path(folder) / name).relative_to(self.root).as_posix()

    def children(self, prefix: str) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self.path(prefix)) if entry.is_dir())
        except FileNotFoundError:
            return []

    def remove(self, key: str) -> None:
        with _space(self, key, ()):
            self.path(key).unlink(missing_ok=True)

    def remove_tree(self, prefix: str) -> None:
        shutil.rmtree(self.path(prefix), ignore_errors=True)

    @property
    def writable(self) -> bool:
        return os.access(self._present(), os.W_OK)

    def free(self) -> int | None:
        return shutil.disk_usage(self._present()).free

    def _present(self) -> Path:
        """The root, or the nearest folder above it that exists."""
        folder = self.root
        while not folder.exists():
            folder = folder.parent
        return folder

    def zarr_store(self, prefix: str) -> Any:
        return str(self.path(prefix))


@contextmanager
def _space(files: LocalFiles, key: str, parts: tuple[Buffer, ...]) -> Iterator[None]:
    """Turn "no space left" and "not allowed" into an answer: what is saved, what is needed, what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise ReadOnlyError(
                f"{files.url} cannot be written ({error.strerror} at {key}). What is there can be read. To write, copy "
                "it, name another --store, or ask who owns it for the right."
            ) from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoSpaceError(
            f"The disk of the store {files.url} is full: {key} needs {sum(len(part) for part in parts):,} bytes and "
            f"{files.free() or 0:,} are free. Everything finished is saved. Make space and run the same command again "
            "to go on."
        ) from error


def _is_temporary(name: str) -> bool:
    """Whether a file's name is one that writes use before they rename: `.<name>.<8 hex digits>`."""
    return re.fullmatch(r"\..+\.[0-9a-f]{8}", name) is not None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Alone among the processes that lock this folder; the lock ends with its holder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, part: Buffer) -> None:
    view = memoryview(part).cast("B")
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
