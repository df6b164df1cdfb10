"""Where a path in a dataset's name is looked for, and names of datasets that are safe as folders."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from structure.store.errors import NotPresentError


def locate(argument: str, *, data_root: Path, kind: str, needs: str) -> Path:
    """`argument` from the current folder, else from the data root; `~/` is the home folder.

    Raises `NotPresentError`: neither is there; `needs` says what it should be.
    """
    paths = [Path(argument).expanduser() if argument.startswith("~") else Path(argument), data_root / argument]
    for path in paths:
        if path.exists():
            return path
    looked = " and ".join(dict.fromkeys(str(path.absolute()) for path in paths))
    raise NotPresentError(f"Dataset {kind}:{argument} is not here; looked for {looked}. {kind}: takes {needs}.")


def folder_safe(name: str) -> str:
    """`name` in letters, digits, `.`, `_` and `-`, not beginning with a dot; unchanged where it is so already.

    Where letters would be lost (any script but ASCII) eight digits of the name's SHA-256 keep two names apart.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-").lstrip(".-")
    if name.isascii() and plain:
        return plain
    return f"{plain or 'data'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
