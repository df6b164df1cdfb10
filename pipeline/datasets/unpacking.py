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
                tar.extractall(partial, filter="data")
        for entry in sorted(partial.iterdir()):
            _place(entry, folder / entry.name)
    except tarfile.FilterError as error:
        raise StructureError(f"{archive} is not safe to unpack: {error}. Nothing of it was saved.") from None
    except _DAMAGED as error:
        raise DamageError(f"{archive} is damaged: {error}. Remove it and get it again.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            # extractall would quietly put such a member somewhere else.
            parts = Path(member.filename.replace("\\", "/")).parts
            if Path(member.filename).is_absolute() or ".." in parts:
                raise StructureError(
                    f"{archive} is not safe to unpack: {member.filename!r} points outside. Nothing of it was saved."
                )
        content.extractall(folder)


def _place(entry: Path, target: Path) -> None:
    """Folders are merged (several archives share `annotations`), files take the place of their elder selves."""
    if entry.is_dir() and target.is_dir():
        for inner in sorted(entry.iterdir()):
            _place(inner, target / inner.name)
    else:
        entry.replace(target)
