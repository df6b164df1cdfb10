"""The pairs that an aligner is trained on: held in memory, or read in passes where a bound of bytes asks for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from structure.pipeline.aligners.aligner_method import method
from structure.pipeline.aligners.options import TrainingOptions, applicable
from structure.pipeline.aligners.registry import ALIGNERS
from structure.pipeline.pairing.layer_pair import AlignedLayers
from structure.pipeline.pairing.pairs import PairedRows
from structure.pipeline.progress import Listener, Note, silent
from structure.store import JoinedRows
from structure.store.errors import StructureError

COPIES = 2
"""How often the pairs are in memory: as they are read, and the part that trains once more, without those held out."""


def held_bytes(sides: AlignedLayers, rows: PairedRows) -> int:
    """Bytes of the pairs in memory, with the copy of those that train."""
    return COPIES * sides.size(rows)


def fit_memory(
    sides: AlignedLayers,
    rows: PairedRows,
    options: TrainingOptions,
    memory: int | None,
    *,
    adds: bool,
    on_event: Listener = silent,
) -> bool:
    """Whether both layers are read into `memory` bytes (None: no bound); else they are read in passes.

    Raises StructureError for what needs all rows at once where they do not fit.
    """
    needed = 0 if memory is None else held_bytes(sides, rows)
    if memory is None or needed <= memory:
        return True
    streamed = method(options.method).streams(options) and not sides.joins_layers
    if streamed and not adds:
        on_event(Note(f"{needed:,} bytes of features are read in passes: --memory allows {memory:,}"))
        return False
    plain = (TrainingOptions(**applicable({"method": name, "regulariser": "none"})) for name in ALIGNERS)
    in_passes = [other.method for other in plain if method(other.method).streams(other)]
    remedies = f"or a method that reads in passes: {', '.join(in_passes)}"
    if streamed:
        remedies = "or leave out --add, whose pairs are joined in memory"
    elif sides.joins_layers:
        remedies = "or one layer a side: several are read into memory"
    elif sides.kind == "sets":
        remedies = "or fewer vectors a sample: --set views=1, --set captions=1"
    raise StructureError(
        f"The layers {sides.vision[1]} and {sides.text[1]} of {len(rows):,} pairs, with a copy of those that train, "
        f"take {needed:,} bytes; --memory allows {memory:,}. Raise --memory, take fewer --pairs, {remedies}."
    )


def joined_pairs(first: tuple[Any, Any], second: tuple[Any, Any]) -> tuple[Any, Any]:
    """The rows of both, one after the other, in the dtype of the first."""
    one, two = (_appended(old, new) for old, new in zip(first, second, strict=True))
    return one, two


def _appended(rows: Any, more: Any) -> Any:
    if isinstance(rows, JoinedRows):
        return JoinedRows([_appended(*parts) for parts in zip(rows.parts, more.parts, strict=True)])
    return np.concatenate([rows, more.astype(rows.dtype)])
