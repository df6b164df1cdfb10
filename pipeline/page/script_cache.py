"""Scripts that take long to make and never change, kept in the user's cache between commands.

A script that was kept is taken only where it is, by its seal, what was written for this name and owner, and nobody but
this user can have written it: it runs in every page. In any other case, and where nothing can be kept, it is made.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from structure.store.errors import StructureError
from structure.store.local_files import LocalFiles
from structure.store.seals import Seal, SealError, closed, require_own

PLACE = Path("~/.cache/structure-align")


def kept(name: str, owner: str, make: Callable[[], str]) -> str:
    """The script of that name which `owner` (a version) made, from the cache or from `make`. Raises what that does."""
    seal = Seal(name, owner)
    note = f"\n// {seal.blank}\n"
    with suppress(OSError, RuntimeError, SealError, ValueError):  # RuntimeError: nobody knows the home
        files = LocalFiles(PLACE)
        _require_private(files.path(name))
        data = files.read(name)
        if require_own(data, seal) is not None:
            return data[: -len(note.encode())].decode()
    script = make()
    with suppress(OSError, RuntimeError, StructureError):
        if Path("~").expanduser().is_dir():
            files = LocalFiles(PLACE)
            files.write(name, closed(f"{script}{note}".encode()))
            for each, mode in ((files.path(name), 0o600), (files.path(name).parent, 0o700)):
                each.chmod(mode)
    return script


def _require_private(path: Path) -> None:
    """Raises SealError where somebody else may have written it."""
    for each in (path, path.parent):
        found = os.stat(each)
        if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise SealError("may be of another user")
