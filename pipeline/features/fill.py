"""The extraction loop: encode what is due, shard by shard, and hand it to the background writer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from structure.pipeline.encoders.encoder import Encoder, LayerTokens
from structure.pipeline.encoders.pooling import Pooling
from structure.pipeline.features.batches import Batch, batches, default_workers
from structure.pipeline.features.plan import Extraction, Plan, choose_layers
from structure.pipeline.features.rows import Rows
from structure.pipeline.progress import Listener, Note, Progress, silent
from structure.store import FeatureSet, Store
from structure.store.claim import HeldError
from structure.store.errors import BadSampleError, StructureError
from structure.store.storable import OverflowError16
from structure.store.writer import Writer


def fill(
    store: Store,
    encoder: Encoder,
    rows: Rows,
    chosen: Plan,
    options: Extraction,
    *,
    device: str,
    on_event: Listener = silent,
) -> FeatureSet:
    """Encode every row that is due and seal the feature set.

    Shards that somebody else is writing are left to them; if nothing else is left, HeldError says who holds them.
    A layer that overflows float16 is widened to float32 under `dtype="auto"`. Raises BadSampleError for an item that
    cannot be read unless `skip_bad`.
    """
    chosen.require_space(store)
    samples = rows.samples
    if chosen.grows:
        ids = samples.row_ids(chosen.manifest.rows_of, chosen.manifest.captions, chosen.manifest.views)
        features = store[chosen.manifest.key].grow(chosen.manifest, ids, chosen.lengths)
    else:
        features = store.allocate(chosen.manifest, samples, chosen.lengths)
    if not features.pending():
        on_event(Note(f"{features.key}: all {len(features)} rows are in the store already."))
    while features.pending():
        try:
            _fill_once(features, encoder, rows, options, batch=chosen.batch, device=device, on_event=on_event)
        except OverflowError16 as error:
            if options.dtype != "auto":
                raise
            on_event(Note(f"{features.key}: layer {error.column} does not fit float16 and is kept in float32."))
            features = features.widen(error.column)
    features.tidy()
    if features.skipped:
        store.put_skipped(
            samples.dataset, samples.split, {str(features.ids[row]): why for row, why in features.skipped.items()}
        )
        on_event(Note(f"{features.key}: {len(features.skipped)} of {len(features)} samples could not be read."))
    return features


def _fill_once(
    features: FeatureSet,
    encoder: Encoder,
    rows: Rows,
    options: Extraction,
    *,
    batch: int,
    device: str,
    on_event: Listener,
) -> None:
    """One pass over the shards that are due now."""
    due = features.pending()
    source = batches(
        encoder,
        rows,
        list(due),
        size=batch,
        workers=default_workers(device) if options.workers is None else options.workers,
        captions=options.captions,
        views=features.manifest.views,
    )
    pooling = options.pooling or (encoder.default_pooling,)
    layers = choose_layers(encoder, options.layers)
    kept = {column.path: column for column in features.manifest.tokens}
    done, total = len(features) - sum(len(shard) for shard in due), len(features)
    held: HeldError | None = None
    filled = cut = 0
    with Writer(features) as writer:
        for shard, group in groupby(source, key=lambda batch: batch.shard):
            claim = features.claim(shard)
            try:
                claim.acquire()
            except HeldError as error:
                held = error
                continue
            with ExitStack() as undo:
                undo.callback(claim.release)
                arrays = {
                    name: np.zeros((len(shard), features.manifest.column(name).width), dtype=np.float32)
                    for name in due[shard]
                    if name not in kept
                }
                dtypes = {kept[name].name: kept[name].dtype for name in due[shard] if name in kept}
                tokens = features.shard_tokens(shard, dtypes)
                undo.callback(tokens.abandon)
                skipped: dict[int, str] = {}
                for part in group:
                    good = _readable(part, skipped, keep_going=options.skip_bad)
                    for some, pooled, of_tokens in encode_within_memory(
                        encoder,
                        [part.examples[i] for i in good],
                        pooling=pooling,
                        layers=layers if arrays else (),
                        tokens=dtypes,
                        on_event=on_event,
                    ):
                        places = [part.rows[i] for i in good[some]]
                        _scatter(arrays, pooled, [row - shard.start for row in places])
                        for layer, found in of_tokens.items():
                            tokens.put(layer, places, found.values.cpu().numpy(), found.lengths)
                    cut += sum(getattr(example, "cut", 0) > 0 for example in part.examples)
                    done += len(part.rows)
                    on_event(Progress(f"extracting {features.key}", done, total))
                undo.pop_all()  # from here the claim and the tokens are the writer's to end
            writer.submit(shard, arrays, skipped=skipped, claim=claim, tokens=tokens)
            filled += 1
    if cut:
        on_event(Note(f"{features.key}: {cut} {encoder.too_long} and were cut."))
    if held is not None and not filled and features.pending():
        raise held


def _readable(batch: Batch, skipped: dict[int, str], *, keep_going: bool) -> list[int]:
    """Positions of the examples that were read; the others are noted in `skipped`, or raised."""
    good = []
    for position, (row, example) in enumerate(zip(batch.rows, batch.examples, strict=True)):
        if isinstance(example, BadSampleError):
            if not keep_going:
                raise example
            skipped[row] = example.reason
        else:
            good.append(position)
    return good


def encode_within_memory(
    encoder: Encoder,
    examples: Sequence[Any],
    *,
    pooling: Sequence[Pooling],
    layers: Sequence[str],
    tokens: Mapping[str, str] = MappingProxyType({}),
    on_event: Listener = silent,
) -> Iterator[tuple[slice, dict[str, torch.Tensor], dict[str, LayerTokens]]]:
    """`encoder.encode_tokens`, in halves where the device's memory does not hold the batch: parts of the examples with
    their features. `tokens` maps a layer to its stored dtype."""
    if not examples:
        return
    try:
        dtypes = {layer: getattr(torch, dtype) for layer, dtype in tokens.items()}
        pooled, of_tokens = encoder.encode_tokens(examples, dtypes, pooling=pooling, layers=layers)
        half = 0
    except torch.OutOfMemoryError:
        if len(examples) == 1:
            raise StructureError(
                f"{encoder.name} does not fit the memory of its device even with one row at a time. Pass --amp bf16, "
                "choose a smaller model, or a device with more memory; what was extracted is kept."
            ) from None
        half = len(examples) // 2
    if not half:
        yield slice(0, len(examples)), pooled, of_tokens
        return
    on_event(Note(f"{encoder.name}: a batch of {half * 2} does not fit the device; going on with {half}."))
    torch.cuda.empty_cache()
    for start, part in ((0, examples[:half]), (half, examples[half:])):
        for some, pooled, of_tokens in encode_within_memory(
            encoder, part, pooling=pooling, layers=layers, tokens=tokens, on_event=on_event
        ):
            yield slice(start + some.start, start + some.stop), pooled, of_tokens


def _scatter(arrays: dict[str, np.ndarray], encoded: dict[str, torch.Tensor], place: list[int]) -> None:
    """Put a batch's rows in their places; one transfer from the device for all layers."""
    names = [name for name in arrays if name in encoded]
    if not names:
        return
    widths = [encoded[name].shape[1] for name in names]
    whole = torch.cat([encoded[name] for name in names], dim=1).cpu().numpy()
    for name, end, width in zip(names, np.cumsum(widths), widths, strict=True):
        arrays[name][place] = whole[:, end - width : end]


def rows_per_second(encoder: Encoder, source: Iterator[Batch], options: Extraction) -> float:
    """Time the second batch (the first warms up) of a probe; rows a second, decoding included."""
    pooling = options.pooling or (encoder.default_pooling,)
    layers = choose_layers(encoder, options.layers)
    rate = 0.0
    for _ in range(2):
        start = time.perf_counter()
        batch = next(source, None)
        if batch is None:
            break
        good = [example for example in batch.examples if not isinstance(example, BadSampleError)]
        if good:
            out = encoder.encode(good, pooling=pooling, layers=layers)
            float(next(iter(out.values())).sum())  # waits for the device
        rate = len(batch.rows) / (time.perf_counter() - start)
    return rate
