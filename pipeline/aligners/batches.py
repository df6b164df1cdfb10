"""Where training batches come from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch

from structure.pipeline.aligners.arrays import Array, as_tensor
from structure.store.errors import StructureError
from structure.store.lazy_rows import Rows
from structure.store.shuffle_plan import ShufflePlan
from structure.store.shuffled_batches import POOL_BYTES, Shuffled

FUSEMIX_ROLL = 2048
BLOCK_ROWS = 4096
"""Pairs that follow one another and are read together where the pairs do not fit the memory."""


class BatchSource(Protocol):
    """Batches of paired rows. The same seed gives the same batches, however they are read."""

    rows: int
    widths: tuple[int, int]
    whole: bool
    """Every epoch is one and the same batch: all pairs, in one order."""

    def epoch(self, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches of (vision (n, dv), text (n, dt)), any float dtype; each pair once, the last batch may be short."""


def pairs_source(
    vision: Array | Rows,
    text: Array | Rows,
    *,
    batch: int,
    device: str | torch.device = "cpu",
    mix: float | None = None,
    memory: int | None = None,
) -> BatchSource:
    """Batches of arrays or tensors, or of rows of the store, read on demand within `memory` bytes (None: no bound); the
    same ones for the same numbers."""
    if not isinstance(vision, Rows) or not isinstance(text, Rows):
        return PairsInMemory(vision, text, batch=batch, device=device, mix=mix)
    if mix is not None:
        raise StructureError("FuseMix mixes pairs from anywhere in the data: they must fit --memory. Raise it.")
    return PairsFromShards(vision, text, batch=batch, memory=memory)


def shuffle_plan(rows: int, row_bytes: int) -> ShufflePlan:
    """The order of `rows` pairs of `row_bytes` each: any order where they fit the reader's pool, and else one that can
    be read from shards. It is the same for pairs in memory."""
    edges = (*range(0, rows, BLOCK_ROWS), rows)
    weights = tuple((high - low) * row_bytes for low, high in pairwise(edges))
    return ShufflePlan(edges, weights, POOL_BYTES)


class PairsFromShards:
    """Pairs that are read from the store while they are trained on, in bounded memory."""

    def __init__(self, vision: Rows, text: Rows, *, batch: int, memory: int | None) -> None:
        self.rows, self.widths = len(vision), (vision.width, text.width)
        plan = shuffle_plan(self.rows, vision.column.vector_bytes + text.column.vector_bytes)
        self._reader = Shuffled((vision, text), batch=batch, memory=memory, plan=plan)
        self.whole = False

    def epoch(self, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for _, (vision, text) in self._reader.epoch(seed):
            yield as_tensor(vision), as_tensor(text)


class PairsInMemory:
    """All pairs as two tensors on the training device; one batch an epoch where they fit in one."""

    def __init__(
        self, vision: Array, text: Array, *, batch: int, device: str | torch.device = "cpu", mix: float | None = None
    ) -> None:
        self._vision, self._text = as_tensor(vision).to(device), as_tensor(text).to(device)
        self.rows = len(self._vision)
        self.widths = (self._vision.shape[1], self._text.shape[1])
        row_bytes = sum(side.shape[1] * side.element_size() for side in (self._vision, self._text))
        self._plan = shuffle_plan(self.rows, row_bytes)
        self._batch, self._mix = batch, mix
        self.whole = self.rows <= batch and mix is None

    def epoch(self, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        if self.whole:
            yield self._vision, self._text
            return
        # Partners of FuseMix are neighbours in the order, which must not follow the rows.
        order = torch.from_numpy(self._plan.order(seed, 0, batch=self._batch if self._mix is None else 1))
        order = order.to(self._vision.device)
        # Source of FuseMix: Vouitsis et al., arXiv 2312.10144, section 4; the partners are the shuffled set, rolled.
        partners = order.roll(FUSEMIX_ROLL if self.rows > FUSEMIX_ROLL else self.rows // 2)
        draws = np.random.default_rng(seed)
        for start in range(0, self.rows, self._batch):
            chosen = order[start : start + self._batch]
            vision, text = self._vision[chosen], self._text[chosen]
            if self._mix is not None:
                share = float(draws.beta(self._mix, self._mix))
                other = partners[start : start + self._batch]
                vision = torch.lerp(self._vision[other].float(), vision.float(), share)
                text = torch.lerp(self._text[other].float(), text.float(), share)
            yield vision, text
