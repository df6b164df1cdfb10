"""Which training run made the aligner of a name, and which name a new run takes."""

from __future__ import annotations

import json
from dataclasses import dataclass

from structure.store import Store
from structure.store.errors import StructureError

WEIGHTS, RECORD = "aligner.safetensors", "aligner.json"
"""Files of an aligner: its tensors, and its record, which is written last and vouches for the others."""
BUNDLE = "bundle.json"
"""The file that makes a folder a bundle of an aligner."""


def run_of(store: Store, name: str) -> str | None:
    """The run on record of an aligner: "" where the record names none or does not read, None without an aligner."""
    try:
        return str(json.loads(store.folder("aligners", name).read(RECORD))["metadata"].get("run", ""))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""


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
