"""The extraction loop: encode what is pending, shard by shard, and hand it to the background writer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch

from structure.pipeline.encoders.encoder import Encoder
from structure.pipeline.extraction.batch_size import batch_of
from structure.pipeline.extraction.batches import ExampleBatch, batches, default_workers
from structure.pipeline.extraction.options import ExtractionOptions
from structure.pipeline.extraction.plan_feature_set import Plan, choose_layers
from structure.pipeline.extraction.sample_index import SampleIndex
from structure.pipeline.extraction.within_memory import WithinMemory
from structure.pipeline.progress import Listener, Note, Progress, silent
from structure.pipeline.run_context import RunContext
from structure.store import FeatureSet, Samples, Store
from structure.store.cast import Float16OverflowError
from structure.store.column_layout import tokens_path
from structure.store.errors import BadSampleError
from structure.store.leased_shards import LeasedShards, any_free
from structure.store.sample_table import WITHDRAWN
from structure.store.withdrawn import withdrawn_rows


def fill(
    context: RunContext, encoder: Encoder, rows: SampleIndex, chosen: Plan, options: ExtractionOptions
) -> FeatureSet:
    """Encode every row that is pending and complete the feature set.

    Shards that somebody else is writing are left to them; if nothing else is left, HeldError says who holds them.
    A layer that overflows float16 is widened to float32 under `dtype="auto"`. Raises BadSampleError for a sample that
    cannot be read unless `skip_bad`.
    """
    store, on_event = context.store, context.on_event
    features, cut = allocate(store, rows.samples, chosen, options, on_event=on_event), 0
    while pending := features.pending():
        try:
            with LeasedShards(features, pending) as shards:
                filled = fill_shards(
                    shards,
                    encoder,
                    rows,
                    options,
                    batch=batch_of(features.manifest),
                    device=context.resolved_device,
                    on_event=on_event,
                )
        except Float16OverflowError as error:
            features = widen(features, error, options, on_event=on_event)
            continue
        cut += filled.cut
        if shards.held and not filled.shards and not any_free(features, shards.held) and features.pending():
            raise next(iter(shards.held.values()))
    tell_cut(features, cut, encoder.too_long, on_event)
    return finish(store, features, rows.samples, on_event=on_event)


@dataclass(frozen=True)
class Filled:
    """What one pass did: `shards` that it filled, and `cut`, how many examples were too long."""

    shards: int
    cut: int


def allocate(
    store: Store, samples: Samples, chosen: Plan, options: ExtractionOptions, *, on_event: Listener = silent
) -> FeatureSet:
    """The planned feature set, allocated or grown. Raises StructureError where the disk cannot hold it."""
    chosen.require_space(store)
    if chosen.grows:
        ids = samples.row_id_array(chosen.manifest.rows_of, chosen.manifest.captions, chosen.manifest.views)
        features = store[chosen.manifest.key].grow(chosen.manifest, ids, chosen.lengths)
    else:
        features = store.allocate(chosen.manifest, samples, chosen.lengths)
    if not features.pending():
        on_event(Note(f"{features.key}: all {len(features)} rows are in the store already."))
    elif options.batch not in (None, size := batch_of(features.manifest)):
        on_event(
            Note(
                f"{features.key}: goes on in batches of {size} rows, as it began, not of {options.batch}: another size "
                "would move the last bits of its rows."
            )
        )
    return features


def widen(
    features: FeatureSet, error: Float16OverflowError, options: ExtractionOptions, *, on_event: Listener = silent
) -> FeatureSet:
    """The feature set with the layer in float32 that float16 does not hold. Raises the error unless `dtype="auto"`."""
    if options.dtype != "auto":
        raise error
    on_event(Note(f"{features.key}: layer {error.column} does not fit float16 and is saved in float32."))
    return features.widen(error.column)


def tell_cut(features: FeatureSet, cut: int, what: str, on_event: Listener) -> None:
    """Say how many examples were cut, if any; `what` is the encoder's `too_long`."""
    if cut:
        on_event(Note(f"{features.key}: {cut} {what} and were cut."))


def finish(store: Store, features: FeatureSet, samples: Samples, *, on_event: Listener = silent) -> FeatureSet:
    """Clear up after killed writers, and keep and tell which samples could not be read."""
    features.tidy()
    if skipped := features.skipped:
        store.put_skipped(samples.dataset, samples.split, {str(features.ids[row]): why for row, why in skipped.items()})
        unreadable = sum(why != WITHDRAWN for why in skipped.values())
        if unreadable:
            on_event(Note(f"{features.key}: {unreadable} of {len(features)} samples could not be read."))
    return features


def fill_shards(
    shards: LeasedShards,
    encoder: Encoder,
    rows: SampleIndex,
    options: ExtractionOptions,
    *,
    batch: int,
    device: str,
    on_event: Listener = silent,
) -> Filled:
    """One pass over the shards that are free. Raises Float16OverflowError, BadSampleError."""
    features = shards.features
    source = batches(
        encoder,
        rows,
        shards,
        size=batch,
        workers=default_workers(device) if options.workers is None else options.workers,
        captions=options.captions,
        views=features.manifest.views,
    )
    pooling = options.pooling or (encoder.default_pooling,)
    layers = choose_layers(encoder, options.layers)
    encoded, finished = len(features) - sum(len(shard) for shard in features.pending()), 0
    filled = cut = 0
    within, withdrawn = WithinMemory(encoder, on_event=on_event), withdrawn_rows(features, rows.samples).tolist()
    for shard, group in groupby(source, key=lambda batch: batch.shard):
        writer = shards.writer_of(shard)
        writer.skipped |= {row: WITHDRAWN for row in withdrawn if row in shard}
        columns = [features.column(path) for path in writer.lacking]
        pooled = [column.path for column in columns if column.is_pooled]
        tokens = {column.name: column.dtype for column in columns if not column.is_pooled}
        for part in group:
            good = _readable(part, writer.skipped, keep_going=options.skip_bad)
            for some, of_layers, of_tokens in within.encode(
                [part.examples[i] for i in good], pooling=pooling, layers=layers if pooled else (), tokens=tokens
            ):
                numbers = [part.rows[i] for i in good[some]]
                for path, values in _on_host({path: of_layers[path] for path in pooled}).items():
                    writer.put(path, numbers, values)
                for layer, found in of_tokens.items():
                    writer.put(tokens_path(layer), numbers, found.values.cpu().numpy(), found.lengths)
            cut += sum(getattr(example, "cut", 0) > 0 for example in part.examples)
            finished += len(part.rows)
            on_event(Progress(f"extracting {features.key}", encoded + shards.done + finished, len(features)))
        shards.commit(shard)
        filled += 1
    return Filled(filled, cut)


def _readable(batch: ExampleBatch, skipped: dict[int, str], *, keep_going: bool) -> list[int]:
    """Positions of the examples that were read; the others are noted in `skipped`, or raised. Rows that are there
    already, from when other columns were written, stay skipped."""
    good = []
    for position, (row, example) in enumerate(zip(batch.rows, batch.examples, strict=True)):
        if row in skipped:
            continue
        if isinstance(example, BadSampleError):
            if not keep_going:
                raise example
            skipped[row] = example.reason
        else:
            good.append(position)
    return good


def _on_host(encoded: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Features of a batch as arrays; one transfer from the device for all layers."""
    if not encoded:
        return {}
    whole = torch.cat(list(encoded.values()), dim=1).cpu().numpy()
    ends = np.cumsum([values.shape[1] for values in encoded.values()])
    return dict(zip(encoded, np.split(whole, ends[:-1], axis=1), strict=True))
