"""What an extraction would take, from a short timed probe, so that it can be asked before hours or disks are spent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch

from structure.pipeline.encoders.encoder import Encoder
from structure.pipeline.extraction.batches import ExampleBatch, batches
from structure.pipeline.extraction.options import ExtractionOptions
from structure.pipeline.extraction.plan_feature_set import Plan, choose_layers
from structure.pipeline.extraction.sample_index import SampleIndex
from structure.pipeline.extraction.within_memory import WithinMemory
from structure.pipeline.run_context import Confirm
from structure.store.errors import BadSampleError

LARGE_BYTES, LONG_SECONDS = 100 * 10**9, 2 * 3600.0
"""Above either, a person is asked first (or says `--yes`)."""

SHORT = 200
"""Batches up to which a run is not probed: the probe's two would cost more than they tell."""


@dataclass(frozen=True)
class ExtractionEstimate:
    """What is ahead of one feature set: `rows` and `bytes` that are pending, `seconds` for them on this machine, and
    the most bytes that a GPU held in the probe (None on a CPU)."""

    features: str
    rows: int
    bytes: int
    seconds: float
    memory: int | None = None

    @property
    def is_long(self) -> bool:
        """Whether it is so much that a person should be asked first."""
        return self.bytes > LARGE_BYTES or self.seconds > LONG_SECONDS


def ask(
    confirm: Confirm | None, encoder: Encoder, rows: SampleIndex, chosen: Plan, options: ExtractionOptions, device: str
) -> None:
    """Ask for a yes to what is pending, where it could be long: probed, unless the bytes alone say so."""
    if confirm is None:
        return
    if chosen.pending_rows > SHORT * chosen.batch:
        confirm(estimate(encoder, rows, chosen, options, device=device))
    else:
        confirm(ExtractionEstimate(chosen.manifest.key, chosen.pending_rows, chosen.pending_bytes, 0.0))


def estimate(
    encoder: Encoder, rows: SampleIndex, chosen: Plan, options: ExtractionOptions, *, device: str
) -> ExtractionEstimate:
    """Probe the first batch, which warms up and needs the most memory, and a usual one; scale by what is pending."""
    manifest = chosen.manifest
    if not chosen.pending_rows:
        return ExtractionEstimate(manifest.key, 0, 0, 0.0)
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    source = batches(
        encoder,
        rows,
        manifest.shards[:1],
        size=chosen.batch,
        workers=0,
        captions=options.captions,
        views=manifest.views,
    )
    rate = _rows_per_second(encoder, _usual(source) if encoder.modality == "text" else source, chosen, options)
    return ExtractionEstimate(
        manifest.key,
        chosen.pending_rows,
        chosen.pending_bytes,
        chosen.pending_rows / rate,
        int(torch.cuda.max_memory_reserved(device)) if on_gpu else None,
    )


def _usual(source: Iterator[ExampleBatch]) -> Iterator[ExampleBatch]:
    """The first batch of texts and one from the middle: they come longest first."""
    found = list(source)
    return chain(found[:1], found[len(found) // 2 :])


def _rows_per_second(
    encoder: Encoder, source: Iterator[ExampleBatch], chosen: Plan, options: ExtractionOptions
) -> float:
    """Of the second batch, or the first where there is one; decoding and tokens included."""
    within = WithinMemory(encoder)
    pooling = options.pooling or (encoder.default_pooling,)
    layers = choose_layers(encoder, options.layers)
    dtypes = {column.name: column.dtype for column in chosen.manifest.tokens}
    rate = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        batch = next(source, None)
        if batch is None:
            break
        good = [example for example in batch.examples if not isinstance(example, BadSampleError)]
        for _, pooled, kept in within.encode(good, pooling=pooling, layers=layers, tokens=dtypes):
            for values in (*pooled.values(), *(found.values for found in kept.values())):
                values.cpu()  # waits for the device
        rate = len(batch.rows) / (time.perf_counter() - start)
    return rate
