"""Methods whose items are several vectors: PAL and FreezeAlign over tokens, SMA over sets of views and captions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from structure.pipeline.aligners.arrays import Array, check_counts
from structure.pipeline.aligners.batches import LEAST_PAIRS, held_out
from structure.pipeline.aligners.checkpoint import Checkpoint
from structure.pipeline.aligners.fit_result import FitResult
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.aligners.padded import Padded, Sequences, as_sequences, check_sequences
from structure.pipeline.aligners.sequence_batches import (
    SequencesInMemory,
    StoredSequences,
    as_ragged,
    joined,
    limited,
    read_tokens,
    rows_of,
)
from structure.pipeline.aligners.training import choose_and_refit, train
from structure.pipeline.aligners.unpaired import NO_EXTRAS, Unpaired
from structure.pipeline.progress import Listener, Note, silent
from structure.store.errors import StructureError
from structure.store.row_sources import TokenSource


def train_sequences(
    vision: Any,
    text: Any,
    *,
    options: TrainingOptions,
    validation: tuple[Any, Any] | None = None,
    groups: Array | None = None,
    extras: Unpaired = NO_EXTRAS,
    checkpoint: Checkpoint | None = None,
    on_event: Listener = silent,
) -> FitResult:
    """Train `pal`, `freezealign` or `sma`; the other arguments are those of `training.train`.

    Row i of `vision` and of `text` are the tokens of one item (for `sma`: its views, its captions), as `Ragged`,
    `Padded`, the store's `Tokens` or an array (rows, token, width). There is no R_S. `pal` with `pooling="global"`
    takes one vector an item. Raises StructureError as `train` does, and for a row without any vector.
    """
    options = _plain(options, on_event)
    if extras:
        on_event(Note(f"{options.method} has no R_S to show unpaired rows to: they are not used"))
    if options.method == "pal" and options.pooling == "global":
        return train(
            vision,
            text,
            options=options,
            validation=validation,
            groups=groups,
            checkpoint=checkpoint,
            on_event=on_event,
        )
    if options.method == "sma" and options.loss != "info_nce":
        raise StructureError(f"sma has a loss of its own: it cannot train with {options.loss}.")
    sides = _sides(vision, text, options)
    check_pairs_of_sequences(sides, least=LEAST_PAIRS, why=options.method)
    if validation is None:
        everything = (as_ragged(sides[0]), as_ragged(sides[1]))
        chosen, out = held_out(len(sides[0]), share=options.validation, seed=options.seed, groups=groups)
        pairs = (rows_of(sides[0], chosen), rows_of(sides[1], chosen))
        judged = (sides[0].take(out), sides[1].take(out))
    else:
        others = _sides(*validation, options)
        check_pairs_of_sequences(others, least=2, why="validation")
        everything = (joined(sides[0], others[0]), joined(sides[1], others[1]))
        pairs = (as_ragged(sides[0]), as_ragged(sides[1]))
        judged = (others[0].take(slice(None)), others[1].take(slice(None)))
    return choose_and_refit(
        SequencesInMemory(*pairs, batch=options.batch),
        lambda: SequencesInMemory(*everything, batch=options.batch),
        validation=judged,
        options=options,
        checkpoint=checkpoint,
        on_event=on_event,
    )


def train_stored(
    vision: TokenSource,
    text: TokenSource,
    *,
    options: TrainingOptions,
    memory: int | None = None,
    checkpoint: Checkpoint | None = None,
    on_event: Listener = silent,
) -> FitResult:
    """`train_sequences` straight from the store: row i of both sources is one item, rows ascend.

    Within `memory` bytes (None: no bound) beside the held-out pairs; the weights are the same for every bound. Raises
    StructureError where not even a few batches fit.
    """
    options = _plain(options, on_event)
    check_counts(len(vision.rows), len(text.rows), least=LEAST_PAIRS, why=options.method)
    chosen, out = held_out(len(vision.rows), share=options.validation, seed=options.seed)

    def batches(rows: np.ndarray) -> StoredSequences:
        sides = [TokenSource(side.features, side.layer, side.rows[rows]) for side in (vision, text)]
        return StoredSequences(sides[0], sides[1], batch=options.batch, memory=memory)

    source = batches(chosen)
    if not source.in_memory:
        on_event(Note(f"tokens are read in windows for every epoch: --memory allows {memory:,} bytes"))
    judged = tuple(read_tokens(side, out).take(slice(None)) for side in (vision, text))
    for part, what in zip(judged, ("vision", "text"), strict=True):
        require_variety(part, what)
    return choose_and_refit(
        source,
        lambda: batches(np.arange(len(vision.rows))),
        validation=(judged[0], judged[1]),
        options=options,
        checkpoint=checkpoint,
        on_event=on_event,
    )


def _plain(options: TrainingOptions, on_event: Listener) -> TrainingOptions:
    """The options without R_S. Raises StructureError for what these methods cannot do."""
    if options.regulariser != "none":
        on_event(Note(f"{options.method} trains without R_S, which compares one frozen vector an item"))
    if options.mix is not None:
        raise StructureError(f"{options.method} cannot mix features (FuseMix mixes one vector an item). Leave out mix.")
    return replace(options, regulariser="none")


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


def _sides(vision: Any, text: Any, options: TrainingOptions) -> tuple[Sequences, Sequences]:
    sides = as_sequences(vision, what="vision"), as_sequences(text, what="text")
    if options.method != "sma":
        return sides
    return limited(sides[0], options.views), limited(sides[1], options.captions)
