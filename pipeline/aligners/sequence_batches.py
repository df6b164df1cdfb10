"""Batches of samples that are several vectors each: tokens, or sets of views and captions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from structure.pipeline.aligners.padded import Padded, Ragged, Sequences, as_sequences
from structure.store.lazy_rows import Rows
from structure.store.shuffled_batches import Shuffled


class SequencesInMemory:
    """A `BatchSource` of padded batches; one batch an epoch where all pairs fit in one. Rows stay where they are: only
    a batch goes to the training device."""

    def __init__(self, vision: Ragged, text: Ragged, *, batch: int) -> None:
        self._vision, self._text = vision, text
        self.rows = len(vision)
        self.widths = (vision.width, text.width)
        self.prefix = vision.prefix
        self._batch = batch
        self.whole = self.rows <= batch

    def epoch(self, seed: int) -> Iterator[tuple[Any, Any]]:
        if self.whole:
            yield self._vision.take(slice(None)), self._text.take(slice(None))
            return
        order = torch.randperm(self.rows, generator=torch.Generator().manual_seed(seed))
        for start in range(0, self.rows, self._batch):
            chosen = order[start : start + self._batch]
            yield self._vision.take(chosen), self._text.take(chosen)


class StoredSequences:
    """A `BatchSource` over tokens in the store, read shuffled: from memory where they fit `memory` bytes (None: they
    do), else in windows. The batches are the same either way."""

    def __init__(self, vision: Rows, text: Rows, *, batch: int, memory: int | None = None) -> None:
        self._reader = Shuffled((vision, text), batch=batch, memory=memory)
        self.rows = self._reader.rows
        self.widths = (vision.width, text.width)
        self.prefix = vision.column.prefix
        self.whole = self.rows <= batch
        self.in_memory = self._reader.in_memory

    def epoch(self, seed: int) -> Iterator[tuple[Any, Any]]:
        for _, (vision, text) in self._reader.epoch(seed):
            yield as_sequences(vision).take(slice(None)), as_sequences(text).take(slice(None))


def rows_of(sequences: Sequences, rows: np.ndarray | slice) -> Ragged:
    """Those rows without padding."""
    return as_ragged(sequences.take(rows))


def as_ragged(sequences: Sequences) -> Ragged:
    """The same rows without padding."""
    if isinstance(sequences, Ragged):
        return sequences
    lengths = sequences.mask.sum(dim=1)
    offsets = torch.zeros(len(sequences) + 1, dtype=torch.int64)
    offsets[1:] = lengths.cumsum(0).cpu()
    return Ragged(sequences.values[sequences.mask], offsets, sequences.prefix)


def joined(first: Sequences, second: Sequences) -> Ragged:
    """The rows of both, one after the other."""
    one, two = as_ragged(first), as_ragged(second)
    offsets = torch.cat([one.offsets, two.offsets[1:] + one.offsets[-1]])
    return Ragged(torch.cat([one.values, two.values.to(one.values.dtype)]), offsets, one.prefix)


def limited(sequences: Sequences, most: int | None) -> Ragged:
    """The first `most` vectors of each row; None: all."""
    ragged = as_ragged(sequences)
    if most is None:
        return ragged
    padded = ragged.take(slice(None))
    return as_ragged(Padded(padded.values[:, :most], padded.mask[:, :most], padded.prefix))
