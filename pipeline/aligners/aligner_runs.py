"""Which training run made the aligner of a name, which files are of it, and which name a new run takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from structure.pipeline.owned_files import damaged
from structure.store import Store
from structure.store.errors import StructureError
from structure.store.sealed_tables import unpacked
from structure.store.seals import LISTED, SealError, read_json, read_listed

WEIGHTS, RECORD = "aligner.safetensors", "aligner.json"
"""Files of an aligner: its tensors, and its record, which is written last and vouches for the others."""
HISTORY, RATES = "history.parquet", "learning_rate.parquet"
"""Tables beside them: a row an epoch, and the learning-rate range test."""
BUNDLE = "bundle.json"
"""The file that makes a folder a bundle of an aligner."""


def run_of(store: Store, name: str) -> str | None:
    """The run on record of an aligner: "" where the record names none or does not read, None without an aligner."""
    try:
        return str(read_json(store.folder("aligners", name), RECORD)["metadata"].get("run", ""))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def aligner_record(store: Store, name: str) -> dict[str, Any]:
    """The record of an aligner. Raises FileNotFoundError without one, DamageError where it is not what was written, or
    is that of another aligner."""
    folder = store.folder("aligners", name)
    try:
        return read_json(folder, RECORD)
    except SealError as error:
        raise damaged(folder, RECORD, error) from None


def file_beside(store: Store, name: str, file: str) -> bytes | None:
    """A file of an aligner besides its weights, such as the history of its training; None where it has none. Raises as
    `aligner_record` does, and DamageError where the file is not the one that the record lists."""
    folder = store.folder("aligners", name)
    try:
        return read_listed(folder, file, aligner_record(store, name).get(LISTED))
    except SealError as error:
        raise damaged(folder, file, error) from None


def table_beside(store: Store, name: str, file: str) -> pa.Table | None:
    """Such a file as a table. Raises as `file_beside` does."""
    data = file_beside(store, name, file)
    try:
        return None if data is None else unpacked(data)
    except SealError as error:
        raise damaged(store.folder("aligners", name), file, error) from None


@dataclass(frozen=True)
class AlignerName:
    """What the aligner of a run is called: `asked` for, else `default`. `replace`: whether it may take the place of one
    that another run made."""

    asked: str | None
    default: str
    replace: bool = False

    def of(self, run: str, store: Store) -> str:
        """The name for that run. A default name that another run has gets the run's first digits at its end.

        Raises StructureError for a name that was asked for, is taken by another run and may not be replaced.
        """
        name = self.asked or self.default
        there = run_of(store, name)
        if self.replace or there in (None, run):
            return name
        if self.asked is None:
            return f"{name}-{run[:6]}"
        raise StructureError(
            f"The aligner {name} is there, made by another run ({(there or 'unknown')[:12]}; this one is {run[:12]}): "
            "its results would be taken for those of the new one. Pass --replace, which removes it with its results, "
            "or another --name."
        )
