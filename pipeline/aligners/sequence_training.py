"""Training over samples that are several vectors each: in memory, or tokens straight from the store."""

from __future__ import annotations

from typing import Any

import numpy as np

from structure.pipeline.aligners.arrays import check_counts
from structure.pipeline.aligners.checkpoint import Checkpoint
from structure.pipeline.aligners.fit_result import FitResult
from structure.pipeline.aligners.held_out import LEAST_PAIRS, held_out
from structure.pipeline.aligners.option_groups import GradientOptions
from structure.pipeline.aligners.padded import Padded, Sequences, as_sequences, check_sequences
from structure.pipeline.aligners.sequence_batches import (
    SequencesInMemory,
    StoredSequences,
    as_ragged,
    joined,
    limited,
    rows_of,
)
from structure.pipeline.aligners.training import choose_and_refit
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.progress import Listener, Note, silent
from structure.store.errors import StructureError
from structure.store.lazy_rows import Rows

Most = tuple[int | None, int | None]
"""Vectors of a sample that take part, (vision, text); None for all."""


def train_sequences(
    data: TrainingData,
    options: GradientOptions,
    *,
    most: Most | None = None,
    checkpoint: Checkpoint | None = None,
    on_event: Listener = silent,
) -> FitResult:
    """Train heads on rows of several vectors each; `most` where they are sets.

    Raises StructureError as `Method.fit`, and for a row without any vector.
    """
    if data.unpaired:
        on_event(Note(f"{options.method} trains without R_S here: unpaired rows are not used"))
    if isinstance(data.vision, Rows):
        return _train_stored(data, options, checkpoint=checkpoint, on_event=on_event)
    sides = _limited(data.vision, data.text, most)
    check_pairs_of_sequences(sides, least=LEAST_PAIRS, why=options.method)
    if data.validation is None:
        everything = (as_ragged(sides[0]), as_ragged(sides[1]))
        training, out = held_out(len(sides[0]), share=options.validation, seed=options.seed, groups=data.groups)
        pairs = (rows_of(sides[0], training), rows_of(sides[1], training))
        validation = (sides[0].take(out), sides[1].take(out))
    else:
        others = _limited(*data.validation, most)
        check_pairs_of_sequences(others, least=2, why="validation")
        everything = (joined(sides[0], others[0]), joined(sides[1], others[1]))
        pairs = (as_ragged(sides[0]), as_ragged(sides[1]))
        validation = (others[0].take(slice(None)), others[1].take(slice(None)))
    return choose_and_refit(
        SequencesInMemory(*pairs, batch=options.batch),
        lambda: SequencesInMemory(*everything, batch=options.batch),
        validation=validation,
        options=options,
        checkpoint=checkpoint,
        on_event=on_event,
    )


def _train_stored(
    data: TrainingData, options: GradientOptions, *, checkpoint: Checkpoint | None, on_event: Listener
) -> FitResult:
    """The same straight from the store: row i of both sources is one sample, rows ascend.

    Within `data.memory` bytes beside the held-out pairs; the weights are the same for every bound. Raises
    StructureError where not even a few batches fit.
    """
    vision, text, memory = data.vision, data.text, data.memory
    check_counts(len(vision), len(text), least=LEAST_PAIRS, why=options.method)
    training, out = held_out(len(vision), share=options.validation, seed=options.seed)

    def batches(rows: np.ndarray) -> StoredSequences:
        return StoredSequences(vision[rows], text[rows], batch=options.batch, memory=memory)

    source = batches(training)
    if not source.in_memory:
        on_event(Note(f"tokens are read in windows for every epoch: --memory allows {memory:,} bytes"))
    validation = tuple(as_sequences(side[out][:]).take(slice(None)) for side in (vision, text))
    for part, what in zip(validation, ("vision", "text"), strict=True):
        require_variety(part, what)
    return choose_and_refit(
        source,
        lambda: batches(np.arange(len(vision))),
        validation=(validation[0], validation[1]),
        options=options,
        checkpoint=checkpoint,
        on_event=on_event,
    )


def check_pairs_of_sequences(sides: tuple[Sequences, Sequences], *, least: int, why: str) -> None:
    """Raises StructureError unless row i pairs with row i, all is finite and no row is empty, and rows >= `least`."""
    vision, text = sides
    check_counts(len(vision), len(text), least=least, why=why)
    for side, what in ((vision, "vision"), (text, "text")):
        check_sequences(side, what)
        require_variety(side.take(slice(0, 256)), what)


def require_variety(rows: Padded, what: str) -> None:
    """Raises StructureError where all vectors are one and the same."""
    if bool((rows.values[rows.mask] == rows.first()[0]).all()):
        raise StructureError(
            f"The {what} features are constant: all vectors of {len(rows.mask):,} rows are the same, so nothing can be "
            "aligned. Choose another layer."
        )


def _limited(vision: Any, text: Any, most: Most | None) -> tuple[Sequences, Sequences]:
    sides = as_sequences(vision, what="vision"), as_sequences(text, what="text")
    if most is None:
        return sides
    return limited(sides[0], most[0]), limited(sides[1], most[1])
