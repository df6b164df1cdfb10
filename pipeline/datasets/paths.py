"""Where a path in a dataset's name is looked for."""

from __future__ import annotations

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
