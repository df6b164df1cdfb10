"""How often Python looks for garbage: seldom while libraries are imported, whose objects stay, as usual afterwards."""

from __future__ import annotations

import gc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

USUAL = gc.get_threshold()

OBJECTS = 50_000
"""New objects between two passes while libraries are imported. With Python's own 700 the passes take a third of the
time."""


def seldom() -> None:
    """For the first moments, and for those in which torch is imported, whenever that is."""
    gc.set_threshold(OBJECTS, *USUAL[1:])
    sys.meta_path.insert(0, SetAside("torch"))


def usual() -> None:
    """From when work begins, whose garbage may be large."""
    gc.set_threshold(*USUAL)


class SetAside(MetaPathFinder):
    """Where this library is imported, nobody looks for garbage, and nobody looks through what it leaves ever again: of
    torch that is 180,000 objects, and full passes over them would take a third of a second in every command."""

    def __init__(self, library: str) -> None:
        self.library = library

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self.library:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def set_aside(module: ModuleType) -> None:
                gc.disable()
                try:
                    execute(module)
                finally:
                    gc.enable()
                gc.freeze()

            spec.loader.exec_module = set_aside  # type: ignore[method-assign]
        return spec
