"""Extraction as tasks that run anywhere: one that plans, then one for each shard. They meet in the store alone.

A task takes the lease on its shard, so that it may run twice (its worker was lost, or is slow and thought lost), beside
other extractors or not at all: running the same command again finishes. A process runs one task at a time and keeps
one encoder.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from typing import Any

from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.datasets.withdrawn_places import in_stored_places
from structure.pipeline.device import resolve_device
from structure.pipeline.encoders.encoder import Encoder
from structure.pipeline.encoders.loading import load_encoder
from structure.pipeline.encoders.precision import Amp
from structure.pipeline.extraction.batch_size import batch_of
from structure.pipeline.extraction.fill import allocate, fill_shards, finish, tell_cut, widen
from structure.pipeline.extraction.options import ExtractionOptions
from structure.pipeline.extraction.plan_feature_set import Plan, identity_of, plan
from structure.pipeline.extraction.sample_index import SampleIndex, open_rows
from structure.pipeline.progress import Listener, Note, Progress, silent
from structure.pipeline.run_context import RunContext
from structure.store import FeatureSet, Shard, Store, open_store
from structure.store.cast import Float16OverflowError
from structure.store.errors import FingerprintError, StructureError
from structure.store.fingerprint import differences
from structure.store.lease import HeldError
from structure.store.leased_shards import LeasedShards, any_free

MapFunction = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
"""Runs a function on each of several values, anywhere, and gives the outcomes as they come: `map`, or a cluster's."""


@dataclass(frozen=True)
class EncoderJob:
    """What to extract with one encoder: all that another process needs to load it and to read the rows.

    Paths are those of `folder`, the working directory of whoever asks; `run` is another one for each extraction, so
    that nothing which a process keeps in memory outlives it.
    """

    run: str
    folder: str
    store: str
    model: str
    dataset: str
    split: str | None
    data_root: str
    limit: int | None
    options: ExtractionOptions
    device: str
    amp: Amp
    revision: str | None
    trust_remote_code: bool


@dataclass(frozen=True)
class AllocatedPlan:
    """A feature set that is allocated, what its encoder calls examples that were cut, and notes for the user."""

    plan: Plan
    too_long: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ShardTask:
    """One shard of the feature set `key` to encode, `batch` rows at a time."""

    request: EncoderJob
    key: str
    shard: Shard
    batch: int


@dataclass(frozen=True)
class ShardResult:
    """What became of a shard: filled or done already, unless `held` says who writes it or `overflow` which layer
    float16 does not hold. `cut` counts texts that were too long."""

    shard: Shard
    held: HeldError | None = None
    overflow: Float16OverflowError | None = None
    cut: int = 0
    notes: tuple[str, ...] = ()


@dataclass
class _Bench:
    """What a process keeps in memory between the tasks of a request."""

    request: EncoderJob
    store: Store
    encoder: Encoder
    rows: SampleIndex | None = None


_kept: list[_Bench] = []
_alone = threading.Lock()


def fill_by_tasks(request: EncoderJob, map_fn: MapFunction, *, on_event: Listener = silent) -> tuple[Plan, FeatureSet]:
    """Plan and fill one feature set by tasks; the bytes are those of `fill`, and so is what is raised.

    A shard whose worker was lost is done again by another one, as soon as the lease of the lost one is stale.
    """
    planned: AllocatedPlan = next(iter(map_fn(plan_set, [request])))
    chosen, told = planned.plan, _Told(on_event)
    told(planned.notes)
    store = open_store(request.store)
    features, cut = store[chosen.manifest.key], 0
    size = batch_of(features.manifest)
    while pending := features.pending():
        outcomes: list[ShardResult] = []
        done = len(features) - sum(len(shard) for shard in pending)
        for outcome in map_fn(encode_shard, [ShardTask(request, features.key, shard, size) for shard in pending]):
            outcomes.append(outcome)
            told(outcome.notes)
            cut += outcome.cut
            if outcome.held is None and outcome.overflow is None:
                done += len(outcome.shard)
                on_event(Progress(f"extracting {features.key}", done, len(features)))
        too_large = {outcome.overflow.column: outcome.overflow for outcome in outcomes if outcome.overflow is not None}
        for error in too_large.values():
            features = widen(features, error, request.options, on_event=on_event)
        held = {outcome.shard: outcome.held for outcome in outcomes if outcome.held is not None}
        if len(held) == len(outcomes) and not any_free(features, held) and features.pending():
            raise next(iter(held.values()))
    tell_cut(features, cut, planned.too_long, on_event)
    samples = store.samples(features.manifest.dataset, features.manifest.split)
    return chosen, finish(store, features, samples, on_event=on_event)


def plan_set(request: EncoderJob) -> AllocatedPlan:
    """The task that reads the sample index, plans, and allocates the feature set."""
    notes: list[str] = []
    with _at_work(request) as bench:
        rows = open_rows(
            RunContext.of(bench.store, data_root=request.data_root, on_event=_noting(notes)),
            request.dataset,
            split=request.split,
            limit=request.limit,
            append=request.options.append,
            skip_bad=request.options.skip_bad,
        )
        device = resolve_device(request.device)
        chosen = plan(bench.store, bench.encoder, rows, request.options, spec=request.model, device=device)
        allocate(bench.store, rows.samples, chosen, request.options, on_event=_noting(notes))
    return AllocatedPlan(chosen, bench.encoder.too_long, tuple(notes))


def encode_shard(task: ShardTask) -> ShardResult:
    """The task that encodes and writes one shard. Raises what `fill` raises but for held shards and layers to widen."""
    notes: list[str] = []
    with _at_work(task.request) as bench:
        features = bench.store[task.key]
        fields = differences(identity_of(bench.encoder), features.manifest.identity["encoder"])
        if fields:
            told = "; ".join(f"{path}: planned {there!r}, here {here!r}" for path, here, there in fields[:4])
            raise FingerprintError(
                f"The encoder {task.request.model} is another one on this worker ({told}). Its rows would not fit the "
                f"others of {features.key}. Give all workers the same weights, packages and kind of device."
            )
        with LeasedShards(features, [task.shard]) as shards:
            try:
                filled = fill_shards(
                    shards,
                    bench.encoder,
                    _rows(bench, features),
                    task.request.options,
                    batch=task.batch,
                    device=resolve_device(task.request.device),
                    on_event=_noting(notes),
                )
            except Float16OverflowError as error:
                if task.request.options.dtype != "auto":
                    raise
                return ShardResult(task.shard, overflow=error)
    return ShardResult(task.shard, held=shards.held.get(task.shard), cut=filled.cut, notes=tuple(notes))


@contextmanager
def _at_work(request: EncoderJob) -> Iterator[_Bench]:
    """Alone in this process, in the folder that paths start from, with the encoder in memory."""
    with _alone:
        if not os.path.isdir(request.folder):
            raise StructureError(
                f"A worker does not see the folder {request.folder} where the command was given. Workers need the same "
                "store, data and folder: start them on a shared file system, or give the command where they are."
            )
        with chdir(request.folder):
            if not _kept or _kept[0].request != request:
                _kept.clear()  # before the next encoder is loaded: two need not fit the device together
                # A name that is wrong is told before weights are read.
                open_dataset(request.dataset, split=request.split, data_root=request.data_root)
                encoder = load_encoder(
                    request.model,
                    device=resolve_device(request.device),
                    amp=request.amp,
                    revision=request.revision,
                    trust_remote_code=request.trust_remote_code,
                )
                _kept.append(_Bench(request, open_store(request.store), encoder))
            yield _kept[0]


def _rows(bench: _Bench, features: FeatureSet) -> SampleIndex:
    """The rows as the planning task wrote them to the store."""
    if bench.rows is None:
        request, manifest = bench.request, features.manifest
        dataset = open_dataset(request.dataset, split=request.split, data_root=request.data_root)
        samples = bench.store.samples(manifest.dataset, manifest.split)
        bench.rows = SampleIndex(samples, in_stored_places(dataset, samples), request.dataset)
    return bench.rows


def _noting(notes: list[str]) -> Listener:
    return lambda event: notes.append(event.text) if isinstance(event, Note) else None


class _Told:
    """Passes notes of tasks on, each once."""

    def __init__(self, on_event: Listener) -> None:
        self.on_event, self.texts = on_event, set[str]()

    def __call__(self, notes: Sequence[str]) -> None:
        for text in notes:
            if text not in self.texts:
                self.texts.add(text)
                self.on_event(Note(text))
