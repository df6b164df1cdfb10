"""How many rows pass through an encoder at once: one size on a CPU; on a GPU larger ones are tried on real rows.

The size moves the last bits of a row, so it is chosen once for a feature set and stays on record with it. A CPU has
nothing to find: from 4 to 64 rows its rate stays within a tenth, and a fixed size gives the same bytes everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import torch

from structure.pipeline.encoders.encoder import Encoder
from structure.pipeline.encoders.layer import Modality
from structure.pipeline.encoders.pooling import Pooling
from structure.pipeline.extraction.batches import batches
from structure.pipeline.extraction.sample_index import SampleIndex
from structure.store.errors import BadSampleError
from structure.store.manifest import Manifest

FIRST: dict[str, dict[Modality, int]] = {
    "cpu": {"vision": 32, "audio": 8, "text": 32},
    "cuda": {"vision": 128, "audio": 32, "text": 256},
}
MOST: dict[Modality, int] = {"vision": 512, "audio": 128, "text": 2048}
"""Sizes that are tried end here: beyond, a GPU is busy whatever the model, and decoded images fill the memory."""

WORTH = 100
"""First batches that a set must have for larger ones to be tried: trying takes the time of some twenty."""

GAIN = 1.05
"""A size twice as large must be this much faster to be taken, or else the larger batches only cost memory."""


def first_batch(encoder: Encoder, device: str) -> int:
    """The size to begin with, which suits most models: as many videos as have that many frames together."""
    return max(1, FIRST["cuda" if device.startswith("cuda") else "cpu"][encoder.modality] // encoder.frames)


def batch_of(manifest: Manifest) -> int:
    """The size on record. Whoever fills the set uses it, whatever they would have chosen."""
    return int((manifest.provenance or {})["batch"])


def choose_batch(
    encoder: Encoder,
    rows: SampleIndex,
    manifest: Manifest,
    *,
    layers: Sequence[str],
    pooling: Sequence[Pooling],
    tokens: Mapping[str, str],
    device: str,
) -> int:
    """Rows in a batch of the feature set to come, at most a shard; `tokens` maps a layer to its stored dtype.

    On a GPU the set's first rows, for texts the longest of the first shard, are encoded in batches of twice the size
    as long as that is faster and memory allows.
    """
    start = first_batch(encoder, device)
    most = min(MOST[encoder.modality] // encoder.frames, manifest.shard_rows)
    if not device.startswith("cuda") or manifest.rows < WORTH * start or most <= start:
        return start
    source = batches(
        encoder, rows, manifest.shards[:1], size=start, workers=0, captions=manifest.captions, views=manifest.views
    )
    examples = [example for example in next(source).examples if not isinstance(example, BadSampleError)]
    if not examples:
        return start
    dtypes = {layer: getattr(torch, dtype) for layer, dtype in tokens.items()}

    def rate(size: int) -> float:
        """Rows a second of the second of two batches; the first one warms up."""
        batch = (examples * -(-size // len(examples)))[:size]
        began = 0.0
        for _ in range(2):
            began = time.perf_counter()
            pooled, kept = encoder.encode_tokens(batch, dtypes, pooling=pooling, layers=layers)
            for values in (*pooled.values(), *(found.values for found in kept.values())):
                values.cpu()  # waits for the device
        return size / (time.perf_counter() - began)

    size = climb(start, most, rate)
    torch.cuda.empty_cache()
    return size


def climb(start: int, most: int, rate: Callable[[int], float]) -> int:
    """The last of `start`, twice `start`, ... up to `most` that raised `rate(size)` by `GAIN`: up to the first
    that did not, or that the device's memory does not hold (torch.OutOfMemoryError)."""
    size, best = start, 0.0
    try:
        best = rate(start)
        while 2 * size <= most and (found := rate(2 * size)) >= GAIN * best:
            size, best = 2 * size, found
    except torch.OutOfMemoryError:
        pass  # the extraction halves a batch that turns out too large
    return size
