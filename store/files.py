"""Whole files under one root, on a local disk or behind an fsspec URL: read, write durably, create exclusively."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from structure.store.errors import StructureError

Buffer = bytes | bytearray | memoryview
Seen = Callable[[memoryview], None]

PIECE = 1 << 20
"""Bytes read at a time: what the checksum is then taken of is still in the cache."""

_PART = re.compile(r"(?!\.{1,2}$)[\w.@+=,()\[\]-]+", re.ASCII)


def check_key(key: str) -> str:
    """A key is a relative path of plain parts: nothing in it can lead outside the root."""
    if not all(_PART.fullmatch(part) for part in key.split("/")):
        raise StructureError(f"{key!r} cannot be a name in the store: use letters, digits and . _ - between slashes.")
    return key


class Files(ABC):
    """A flat space of files named by keys such as `features/coco/train/dinov2/manifest.json`."""

    url: str

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
    def touch(self, key: str) -> None:
        """Renew the file's modification time. Raises FileNotFoundError."""

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
    def sweep(self, prefix: str) -> None:
        """Remove what interrupted writes left below the prefix; only when nobody writes there."""

    @abstractmethod
    def free(self) -> int | None:
        """Bytes that can still be written, or None where nobody knows."""

    @abstractmethod
    def zarr_store(self, prefix: str) -> Any:
        """What zarr and xarray open as a store rooted at the prefix, read-only."""

    def exists(self, key: str) -> bool:
        """Whether there is a file of that name."""
        try:
            self.size(key)
        except FileNotFoundError:
            return False
        return True


class LocalFiles(Files):
    """Files in a folder of this machine. Writes go to a temporary name, are synced, and renamed into place."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()
        self.url = str(self.root)

    def path(self, key: str) -> Path:
        """Where a key lies on disk."""
        return self.root / check_key(key)

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
                # A link either appears whole or fails: nobody ever reads half a claim.
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

    def touch(self, key: str) -> None:
        os.utime(self.path(key))

    def keys(self, prefix: str) -> list[str]:
        return sorted(self._walk(prefix))

    def _walk(self, prefix: str) -> Iterator[str]:
        top = self.root / check_key(prefix) if prefix else self.root
        for folder, _, names in os.walk(top):
            for name in names:
                if not is_temporary(name):
                    yield (Path(folder) / name).relative_to(self.root).as_posix()

    def children(self, prefix: str) -> list[str]:
        top = self.root / check_key(prefix) if prefix else self.root
        try:
            return sorted(entry.name for entry in os.scandir(top) if entry.is_dir())
        except FileNotFoundError:
            return []

    def remove(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def remove_tree(self, prefix: str) -> None:
        shutil.rmtree(self.root / check_key(prefix), ignore_errors=True)

    def sweep(self, prefix: str) -> None:
        for path in (self.root / check_key(prefix)).rglob(".*"):
            if is_temporary(path.name) and path.is_file():
                path.unlink(missing_ok=True)

    def free(self) -> int | None:
        folder = self.root
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def zarr_store(self, prefix: str) -> Any:
        return str(self.root / check_key(prefix))


class RemoteFiles(Files):
    """Files behind an fsspec URL (`s3://bucket/prefix`, `memory://name`). An object appears whole or not at all."""

    def __init__(self, url: str) -> None:
        import fsspec

        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise StructureError(f"The store {url} cannot be opened: {error}") from error
        self._root = root.rstrip("/")
        self.url = url

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}" if key else self._root

    def read(self, key: str) -> bytes:
        return bytes(self._fs.cat_file(self._path(key)))

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

    def write(self, key: str, *parts: Buffer) -> None:
        self._fs.pipe_file(self._path(key), b"".join(parts))

    def create(self, key: str, data: Buffer) -> bool:
        try:
            self._fs.pipe_file(self._path(key), bytes(data), mode="create")
        except FileExistsError:
            return False
        return True

    def size(self, key: str) -> int:
        return int(self._fs.size(self._path(key)))

    def modified(self, key: str) -> float:
        return float(self._fs.modified(self._path(key)).timestamp())

    def touch(self, key: str) -> None:
        self.write(key, self.read(key))

    def keys(self, prefix: str) -> list[str]:
        self._fs.invalidate_cache()
        found = self._fs.find(self._path(prefix))
        return sorted(path.lstrip("/")[len(self._root.lstrip("/")) + 1 :] for path in found)

    def children(self, prefix: str) -> list[str]:
        depth = prefix.count("/") + 1 if prefix else 0
        return sorted({key.split("/")[depth] for key in self.keys(prefix) if key.count("/") > depth})

    def remove(self, key: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._path(key))

    def remove_tree(self, prefix: str) -> None:
        for key in self.keys(prefix):
            self.remove(key)

    def sweep(self, prefix: str) -> None:
        """Nothing to do: an object appears whole or not at all."""

    def free(self) -> int | None:
        return None

    def zarr_store(self, prefix: str) -> Any:
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(f"{self.url.rstrip('/')}/{check_key(prefix)}", read_only=True)


def open_files(url: str | Path) -> Files:
    """Files for a path or an fsspec URL."""
    text = str(url)
    if text.startswith("file://"):
        return LocalFiles(text.removeprefix("file://"))
    return RemoteFiles(text) if re.match(r"[a-z0-9+]+://", text) else LocalFiles(text)


@contextmanager
def _space(files: LocalFiles, key: str, parts: tuple[Buffer, ...]) -> Iterator[None]:
    """Turn "no space left" into an answer: what is kept, what is needed, what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StructureError(
            f"The disk of the store {files.url} is full: {key} needs {sum(len(part) for part in parts):,} bytes and "
            f"{files.free() or 0:,} are free. Everything finished is kept. Make space and run the same command again "
            "to go on."
        ) from error


def is_temporary(name: str) -> bool:
    """Whether a file's name is one that writes use before they rename: `.<name>.<8 hex digits>`."""
    return re.fullmatch(r"\..+\.[0-9a-f]{8}", name) is not None


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
