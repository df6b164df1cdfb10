"""Which aligners of a store are meant by the names that are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from structure.pipeline.aligners.aligner_runs import BUNDLE, RECORD
from structure.store import Store
from structure.store.errors import StructureError, unknown


def aligner_names(store: Store, names: Sequence[str]) -> list[str]:
    """The aligners that are meant: those named, else the newest. Raises StructureError for one that is not there."""
    there = store.folder("aligners").holding(RECORD)
    for name in names:
        if name not in there and Path(name, BUNDLE).is_file():
            raise StructureError(
                f"{name} is a bundle, and an aligner is used from a store. Add it to one first: structure open {name}"
            )
        if name not in there and Path(name, RECORD).is_file():
            raise StructureError(
                f"{name} is an exported aligner, and an aligner is used from a store, by its name. Load it in Python "
                f"(structure.pipeline.load_aligner), or take a bundle elsewhere: structure export {Path(name).name} "
                f"--bundle DIR where it was trained, then structure open DIR"
            )
    if not there:
        raise StructureError(f"The store {store.url} has no aligner. Train one with: structure align --layers auto")
    for name in names:
        if name not in there:
            raise unknown("aligner", name, sorted(there), hint=f"The store is {store.url}.")
    return list(dict.fromkeys(names)) or [max(there, key=lambda name: (there[name], name))]
