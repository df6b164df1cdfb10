"""What an extraction will do, before it does it: rows, layers, bytes, what is there already."""

from __future__ import annotations

import fnmatch
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from structure.pipeline.encoders.encoder import Encoder
from structure.pipeline.extraction.augment_images import AUGMENTATION
from structure.pipeline.extraction.batch_size import batch_of, choose_batch, first_batch
from structure.pipeline.extraction.options import ExtractionOptions
from structure.pipeline.extraction.sample_index import SampleIndex
from structure.pipeline.extraction.token_plan import choose_token_layers, text_lengths, with_tokens
from structure.pipeline.work_estimate import SPARE
from structure.store import Column, Manifest, Samples, Store
from structure.store.errors import StructureError, unknown
from structure.store.fingerprint import differences
from structure.store.manifest import RowKind
from structure.store.shard_ranges import least_shards, shard_size

NOT_IDENTITY = ("libraries", "location")


@dataclass(frozen=True)
class Plan:
    """One feature set to come. `pending_rows` are still to encode, `free` are the bytes free on the store's disk;
    `lengths` (rows,) are the token counts of its texts, where their tokens are saved."""

    manifest: Manifest
    pending_rows: int
    pending_bytes: int
    free: int | None
    grows: bool = False
    lengths: np.ndarray | None = None

    @property
    def batch(self) -> int:
        """Rows in a batch."""
        return batch_of(self.manifest)

    def require_space(self, store: Store) -> None:
        """Refuse a run that the disk cannot hold."""
        if self.free is not None and self.pending_bytes + SPARE > self.free:
            raise StructureError(
                f"{self.manifest.key} needs {self.pending_bytes:,} bytes and the disk of {store.url} has {self.free:,} "
                f"free ({SPARE:,} are reserved). Choose fewer --layers, make space, or choose another --store."
            )


def plan(
    store: Store,
    encoder: Encoder,
    rows: SampleIndex,
    options: ExtractionOptions,
    *,
    spec: str,
    device: str,
    folder: str | None = None,
) -> Plan:
    """Plan one feature set; touches nothing.

    `spec` loads the encoder again and is saved for that; `folder` is the set's name in the store, by default that of
    `folder_name`. The batch size is planned too: it moves the last
    bits of a row, so resuming and repairing keep to it.
    """
    samples = rows.samples
    layers = choose_layers(encoder, options.layers)
    pooling, name = options.pooling or (encoder.default_pooling,), options.name or encoder.name
    rows_of: RowKind = "captions" if encoder.modality == "text" else "items"
    limit = options.captions if rows_of == "captions" else None
    views = options.views if rows_of == "items" else 1
    count = samples.row_count(rows_of, limit, views)
    if not count:
        raise StructureError(
            f"{samples.dataset}/{samples.split} has no caption: the text encoder {encoder.name} has nothing to read. "
            "Labelled images serve a suite and `align --add`; a vision encoder alone can read them."
        )
    dtype = "float32" if options.dtype == "fp32" else "float16"
    columns = tuple(Column(name, width, dtype) for name, width in encoder.columns(pooling, layers).items())
    manifest = Manifest(
        dataset=samples.dataset,
        split=samples.split,
        encoder=folder or folder_name(name, views=views, captions=limit if rows_of == "captions" else 1),
        modality=encoder.modality,
        rows_of=rows_of,
        rows=count,
        captions=limit,
        views=views,
        shard_rows=shard_size(
            count,
            sum(column.vector_bytes for column in columns),
            shards=least_shards(encoder.modality),
        ),
        columns=columns,
        identity={
            "encoder": identity_of(encoder),
            "data": {
                "dataset": samples.dataset,
                "split": samples.split,
                "rows_of": rows_of,
                "captions": limit,
                "views": {"count": views, **AUGMENTATION} if views > 1 else None,
                "digest": samples.digest(rows_of, limit),
                "pixels": rows.dataset.pixels.identity() if rows.dataset and encoder.modality == "vision" else None,
            },
            "extraction": {"layers": layers, "pooling": list(pooling), "dtype": options.dtype},
        },
        provenance={
            "encoder": name,
            **({"as": name} if options.name else {}),
            "spec": spec,
            "dataset_spec": rows.spec,
            "batch": options.batch or first_batch(encoder, device),
            **{name: encoder.provenance.get(name) for name in NOT_IDENTITY},
            "structure": importlib.metadata.version("structure-align"),
        },
    )
    wanted = choose_token_layers(encoder, options.tokens)
    if manifest.key not in store:
        if options.batch is None:
            size = choose_batch(
                encoder,
                rows,
                manifest,
                layers=layers,
                pooling=pooling,
                tokens=dict.fromkeys(wanted, dtype),
                device=device,
            )
            manifest = replace(manifest, provenance={**(manifest.provenance or {}), "batch": size})
        manifest, lengths = _with_tokens(manifest, encoder, samples, wanted, dtype=dtype)
        return Plan(manifest, count, manifest.size, store.files.free(), lengths=lengths)
    there = store[manifest.key]
    fields = {path for path, _, _ in differences(manifest.identity, there.manifest.identity)}
    if options.append and fields == {"data.digest"} and _is_longer(samples, manifest, there.manifest):
        provenance = {**(manifest.provenance or {}), "batch": batch_of(there.manifest)}
        manifest = replace(there.manifest, rows=manifest.rows, identity=manifest.identity, provenance=provenance)
        lengths = there.token_lengths
        if lengths is not None:  # those on record, for a text that was withdrawn since has no tokens any more
            more = text_lengths(encoder, samples, manifest.captions)[len(lengths) :]
            lengths = np.concatenate([lengths, more])
        manifest, lengths = _with_tokens(manifest, encoder, samples, wanted, dtype=dtype, lengths=lengths)
        first = there.manifest.rows // manifest.shard_rows * manifest.shard_rows
        pending_bytes = (count - first) * row_bytes(manifest)
        return Plan(manifest, count - first, pending_bytes, store.files.free(), grows=True, lengths=lengths)
    there.require(manifest.identity)
    manifest, lengths = _with_tokens(there.manifest, encoder, samples, wanted, dtype=dtype, lengths=there.token_lengths)
    lacking_of = there.pending()
    pending = {shard: set(lacking_of.get(shard, ())) for shard in manifest.shards}
    for column in manifest.tokens[len(there.manifest.tokens) :]:
        for lacking in pending.values():
            lacking.add(column.path)
    pending_rows = sum(len(shard) for shard, lacking in pending.items() if lacking)
    pending_bytes = sum(
        int(manifest.shard_rows * manifest.bytes_of(path)) for lacking in pending.values() for path in lacking
    )
    return Plan(manifest, pending_rows, pending_bytes, store.files.free(), lengths=lengths)


def folder_name(encoder: str, *, views: int, captions: int | None) -> str:
    """The encoder's name, with `.views-N`, `.captions-N` or `.captions-all` behind it where a sample has several rows:
    such a set stands beside the one with the plain image, or the first caption."""
    if views > 1:
        return f"{encoder}.views-{views}"
    return encoder if captions == 1 else f"{encoder}.captions-{captions or 'all'}"


def _with_tokens(
    manifest: Manifest,
    encoder: Encoder,
    samples: Samples,
    layers: Sequence[str],
    *,
    dtype: str,
    lengths: np.ndarray | None = None,
) -> tuple[Manifest, np.ndarray | None]:
    """The manifest with the tokens of these layers too, and the token counts of its texts, if it keeps any."""
    if not layers and not manifest.tokens:
        return manifest, None
    if lengths is None and encoder.modality == "text":
        lengths = text_lengths(encoder, samples, manifest.captions)
    return with_tokens(manifest, encoder, layers, dtype=dtype, lengths=lengths), lengths


def row_bytes(manifest: Manifest) -> int:
    """Bytes of one row over all columns, the mean where rows differ."""
    return int(sum(manifest.bytes_of(path) for path in manifest.paths))


def _is_longer(samples: Samples, manifest: Manifest, stored: Manifest) -> bool:
    """Whether the stored rows are the first of the new ones."""
    digest = samples.digest(manifest.rows_of, manifest.captions, rows=stored.rows // stored.views)
    return manifest.rows > stored.rows and digest == stored.identity["data"]["digest"]


def identity_of(encoder: Encoder) -> dict[str, Any]:
    """What determines the encoder's values: its provenance without where it lies and which versions ran it."""
    return {name: value for name, value in encoder.provenance.items() if name not in NOT_IDENTITY}


def choose_layers(encoder: Encoder, globs: Sequence[str]) -> list[str]:
    """Layer names that match any glob, in order of depth. Raises StructureError for a glob that matches nothing."""
    names = [layer.name for layer in encoder.layers]
    for pattern in globs:
        if not fnmatch.filter(names, pattern):
            raise unknown("layer", pattern, names, hint=f"These are the layers of {encoder.name}.")
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in globs)]
