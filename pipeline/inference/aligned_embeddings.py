"""Aligned embeddings of a feature set, saved in the store: computed once, checked, read in place, grown with the set.

They are a feature set with the one layer `aligned`, below `embeddings/<aligner>/<dataset>/<split>/<encoder>/`. Its
identity holds the aligner's run and weights and what made the features; its provenance the checksums of every shard of
features, so that what was computed from other values is computed again and never read.
"""

from __future__ import annotations

import time
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from structure.pipeline.evaluation.embeddings import Embeddings
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.extraction.stored_or_extracted import FeatureSource
from structure.pipeline.inference.embedding_records import (
    COLUMN,
    DTYPE,
    aligner_identity,
    changed_shards,
    continues,
    manifest_of,
    prefix_of,
)
from structure.pipeline.progress import Progress
from structure.pipeline.run_context import RunContext
from structure.pipeline.work_estimate import WorkEstimate
from structure.store import FeatureSet, Manifest, Shard, Store
from structure.store.column_layout import tokens_path
from structure.store.errors import DamageError
from structure.store.leased_shards import LeasedShards, any_free

Side = Literal["vision", "text"]


class AlignedEmbeddings:
    """The embeddings of one feature set by one side of an aligner, as they are read."""

    def __init__(self, context: RunContext, subject: EvaluatedAligner, side: Side, features: FeatureSet) -> None:
        self.context, self.subject, self.side, self.features = context, subject, side, features
        self._prefix = prefix_of(subject.name, features.key)
        self._checked: set[str] = set()

    @property
    def path(self) -> str:
        """The column of the features that the head reads, or several joined with `+`."""
        layer = self.subject.layers[self.side]
        return tokens_path(layer) if self.subject.aligner.takes_tokens else layer

    def pieces(self, start: int, stop: int) -> list[np.ndarray]:
        """Rows `[start, stop)` as float16 arrays (n, dim) one after another, where they lie in the store; every chunk
        is checked when it is met first, and what is damaged is computed again. A row that could not be read is NaN."""
        held = self.held
        try:
            return self._read(held, start, stop)
        except DamageError as error:
            files = self.context.store.files
            self.context.note(f"{str(error).partition(' Repair')[0]} The embeddings are computed again.")
            self._checked.clear()
            if files.writable:
                files.remove_tree(self._prefix)
                del self.held
            else:
                self.held = self.in_memory()
            return self._read(self.held, start, stop)

    def _read(self, held: FeatureSet | np.ndarray, start: int, stop: int) -> list[np.ndarray]:
        if isinstance(held, np.ndarray):
            return [held[start:stop]]
        reader = held.column_reader(COLUMN)
        if not reader.in_place:
            return [held.rows(COLUMN, start, stop)]
        return reader.view(start, stop, held.completion.known(), self._checked)

    @cached_property
    def held(self) -> FeatureSet | np.ndarray:
        """All of them: from the store, computed and saved there first where they are missing; in memory where the store
        cannot be written, which is said."""
        if self.context.store.files.writable:
            return self.stored()
        saved = self.saved()
        if saved is not None:
            return saved
        self.context.may_save(f"{self._prefix}, computed in memory,")
        return self.in_memory()

    def ahead(self) -> WorkEstimate:
        """What is pending of them, timed on one shard; nothing is written. Raises DamageError for damaged features."""
        pending, dim = self._pending(), self.subject.aligner.dim
        rows, seconds = sum(map(len, pending)), 0.0
        if pending:
            began = time.perf_counter()
            self._of(pending[0])
            seconds = (time.perf_counter() - began) * rows / len(pending[0])
        size = np.dtype(DTYPE).itemsize * dim
        held = max(map(len, pending), default=0) * size
        return WorkEstimate(f"{self._prefix} (rows)", len(self.features), rows, rows * size, held, seconds)

    def _pending(self) -> list[Shard]:
        """Shards that `stored` would compute."""
        wanted, there = self.manifest, _opened(self.context.store, self._prefix, remove=False)
        if there is None or not continues(there.manifest, wanted):
            return list(wanted.shards)
        old, changed = there.manifest.shards, set(changed_shards(there.manifest, wanted))
        done = {old[index] for index in there.markers() if index not in changed}
        return [shard for shard in wanted.shards if shard not in done]

    def stored(self) -> FeatureSet:
        """All of them, from the store; what is missing or was made from other values is computed and saved first.

        Raises HeldError where another process is at it, DamageError for damaged features.
        """
        there = self._allocated()
        self._fill(there)
        return there

    def in_memory(self) -> np.ndarray:
        """(rows, dim) float16, NaN where a row could not be read, where the store cannot be written."""
        whole = np.full((len(self.features), self.subject.aligner.dim), np.nan, dtype=DTYPE)
        for shard in self.features.manifest.shards:
            rows, values = self._of(shard)
            whole[rows] = values
        return whole

    def saved(self) -> FeatureSet | None:
        """What is in the store, if it is whole and made from these features by this aligner."""
        there = _opened(self.context.store, self._prefix)
        if there is None or there.manifest.body() != self.manifest.body() or not there.is_complete:
            return None
        return there

    @cached_property
    def manifest(self) -> Manifest:
        """What they are when they are whole: see `manifest_of`."""
        alignment = {**aligner_identity(self.context.store, self.subject.name), "layer": self.path}
        return manifest_of(self.features, alignment, dim=self.subject.aligner.dim)

    def _allocated(self) -> FeatureSet:
        """The set that is there, brought up to date with the features; a new one where it is of something else."""
        files, wanted = self.context.store.files, self.manifest
        there = _opened(self.context.store, self._prefix)
        if there is not None and not continues(there.manifest, wanted):
            files.remove_tree(self._prefix)
            there = None
        if there is None:
            return FeatureSet.allocate(files, self._prefix, wanted, self._ids())
        if there.manifest.rows < wanted.rows:
            for index in changed_shards(there.manifest, wanted):
                there.completion.remove(index)
            return there.grow(wanted, self._ids())
        return there

    def _ids(self) -> list[str]:
        own = self.features.manifest
        samples = self.context.store.samples(own.dataset, own.split)
        return samples.row_ids(own.rows_of, own.captions, own.views)[: own.rows]

    def _fill(self, there: FeatureSet) -> None:
        context, rows = self.context, len(there)
        done = rows - sum(len(shard) for shard in there.pending())
        while pending := there.pending():
            filled = 0
            with LeasedShards(there, pending) as shards:
                for shard in shards:
                    writer = shards.writer_of(shard)
                    numbers, values = self._of(shard)
                    skipped = set(range(shard.start, shard.stop)) - set(numbers.tolist())
                    writer.skipped.update(dict.fromkeys(skipped, "its features are missing"))
                    writer.put(COLUMN, numbers, values)
                    shards.commit(shard)
                    filled += len(shard)
                    context.on_event(Progress(f"aligning {self.features.key}", done + filled, rows))
            done += filled
            if shards.held and not filled and not any_free(there, shards.held) and there.pending():
                raise next(iter(shards.held.values()))

    @cached_property
    def _valid(self) -> np.ndarray:
        return self.features.valid

    @cached_property
    def _embeddings(self) -> Embeddings:
        aligner = self.subject.aligner
        head = aligner.embed_images if self.side == "vision" else aligner.embed_texts
        layer, source = self.subject.layers[self.side], FeatureSource(self.context)
        return Embeddings(self.features, layer, head, source, tokens=aligner.takes_tokens)

    def _of(self, shard: Shard) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the rows of a shard that could be read, and their embeddings (n, dim) float32."""
        numbers = np.flatnonzero(self._valid[shard.start : shard.stop]) + shard.start
        blocks = self._embeddings.of_shard(shard)
        parts = [block.cpu().numpy() if isinstance(block, torch.Tensor) else block for block in blocks]
        return numbers, np.concatenate([np.empty((0, self.subject.aligner.dim), dtype=np.float32), *parts])


def _opened(store: Store, prefix: str, *, remove: bool = True) -> FeatureSet | None:
    """What is there; a set whose manifest or markers do not read is none, and is removed unless only a plan is made,
    for it follows from the features."""
    try:
        there = FeatureSet.open(store.files, prefix)
        there.markers()
    except FileNotFoundError:
        return None
    except DamageError:
        if remove and store.files.writable:
            store.files.remove_tree(prefix)
        return None
    return there
