"""Archives into a folder: nothing outside it, nothing half unpacked in it."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

from structure.store.errors import DamageError, StructureError

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, LookupError)
"""Python raises RuntimeError for an encrypted zip or a method that it has not, LookupError for a name that is none."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar (plain, gz, bz2, xz) or zip. Its top entries appear in `folder` when all of it is unpacked.

    Raises `StructureError` for a member that points outside the folder, is a device or a link out of it, and for an
    entry that is there already; `DamageError` for a damaged archive.
    """
    partial = folder / f".unpacking-{archive.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(archive):
            _unzip(archive, partial)
        else:
            with tarfile.open(archive) as tar:
                _untar(archive, tar, partial)
        for entry in sorted(partial.iterdir()):
            _place(entry, folder / entry.name)
    except _DAMAGED as error:
        raise DamageError(f"{archive} is damaged: {error}. Remove it and get it again.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _untar(archive: Path, tar: tarfile.TarFile, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):  # before Python 3.11.4
        _copy_files(archive, tar, folder)
        return
    try:
        tar.extractall(folder, filter="data")
    except tarfile.FilterError as error:
        raise _unsafe(archive, str(error)) from None


def _copy_files(archive: Path, tar: tarfile.TarFile, folder: Path) -> None:
    """The plain files of a tar; one with a link or a device is refused, for nothing here says where a link leads."""
    for member in tar:
        _require_inside(archive, member.name)
        target = folder / member.name
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        data = tar.extractfile(member) if member.isreg() else None
        if data is None:
            raise _unsafe(archive, f"{member.name!r} is no plain file; Python 3.11.4 or later unpacks links, too")
        target.parent.mkdir(parents=True, exist_ok=True)
        with data, target.open("wb") as file:
            shutil.copyfileobj(data, file)


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            _require_inside(archive, member.filename)  # extractall would quietly put it somewhere else
        content.extractall(folder)


def _require_inside(archive: Path, name: str) -> None:
    if Path(name).is_absolute() or ".." in Path(name.replace("\\", "/")).parts:
        raise _unsafe(archive, f"{name!r} points outside")


def _unsafe(archive: Path, why: str) -> StructureError:
    return StructureError(f"{archive} is not safe to unpack: {why}. Nothing of it was saved.")


def _place(entry: Path, target: Path) -> None:
    """Folders are merged (several archives share `annotations`), files take the place of their elder selves."""
    if entry.is_dir() and target.is_dir():
        for inner in sorted(entry.iterdir()):
            _place(inner, target / inner.name)
    else:
        entry.replace(target)
