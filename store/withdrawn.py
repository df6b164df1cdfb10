"""Withdrawn samples: what they are called, and how their rows leave a feature set without another extraction.

A withdrawn sample keeps its place in the sample index and in every feature set, so that no other row moves. Its values
become NaN, its row is skipped for the reason `WITHDRAWN`, and its id a digest by which the same sample is known again.
The sample index is written first and is the record of what is to be done: a process that is killed after that leaves
feature sets whose manifest speaks of other data, and `withdraw_rows` finishes them whenever it is called again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from structure.store import zstd
from structure.store.chunk import CRC_BYTES, crc32c, write_chunk
from structure.store.column_layout import Column, ColumnLayout
from structure.store.completion_markers import CompletionMarker
from structure.store.errors import DamageError
from structure.store.feature_set import FeatureSet
from structure.store.sample_table import WITHDRAWN, Samples
from structure.store.shard_writer import lease_of


def withdrawn_rows(features: FeatureSet, samples: Samples) -> np.ndarray:
    """Ascending numbers of the rows of a feature set that are of withdrawn samples."""
    manifest = features.manifest
    owners = samples.item_of_row(manifest.rows_of, manifest.captions, manifest.views)[: len(features)]
    return np.flatnonzero(samples.is_withdrawn[owners])


def is_pending(features: FeatureSet, samples: Samples) -> bool:
    """Whether rows of withdrawn samples are still to be overwritten, or the metadata to be written."""
    rows = withdrawn_rows(features, samples).tolist()
    if not rows:
        return False
    marked = {row for marker in features.markers().values() for row in withdrawn_of(marker)}
    lost = {row for shard in features.pending() for row in rows if row in shard}
    return _identity(features, samples) != features.manifest.identity or not marked | lost >= set(rows)


def withdrawn_of(marker: CompletionMarker) -> list[int]:
    """The rows of a shard that are marked as withdrawn."""
    return [row for row, reason in marker.skipped.items() if reason == WITHDRAWN]


def withdraw_rows(features: FeatureSet, samples: Samples) -> FeatureSet:
    """Overwrite the rows of the withdrawn samples of `samples`, which is in the store, and mark them.

    Every chunk that holds one is written again with NaN in its place, then the completion marker with the new
    checksums; last the metadata, under an identity that says which data the rows are of now. What was done before is
    not done again. A chunk that is damaged is removed, and its column of that shard is pending. Raises HeldError where
    somebody writes a shard.
    """
    rows = withdrawn_rows(features, samples)
    lengths = features.token_lengths
    for index, shard in enumerate(features.manifest.shards):
        here = rows[(rows >= shard.start) & (rows < shard.stop)]
        if not len(here):
            continue
        with lease_of(features, shard):
            marker = features.completion.read(index)
            if marker is None or not set(here.tolist()) <= set(withdrawn_of(marker)):
                _withdraw(features, index, here, marker)
    features.tidy()
    ids = samples.row_id_array(features.manifest.rows_of, features.manifest.captions, features.manifest.views)
    manifest = replace(
        features.manifest,
        identity=_identity(features, samples),
        provenance={**(features.manifest.provenance or {}), "withdrawn_rows": len(rows)},
    )
    return features.described(manifest, ids[: len(features)], lengths)


def _identity(features: FeatureSet, samples: Samples) -> Mapping[str, Any]:
    """The identity with the digest of the data as they are now: the fingerprint changes, as the rows have."""
    manifest = features.manifest
    digest = samples.digest(manifest.rows_of, manifest.captions, rows=manifest.rows // manifest.views)
    return {**manifest.identity, "data": {**manifest.identity.get("data", {}), "digest": digest}}


def _withdraw(features: FeatureSet, index: int, rows: np.ndarray, marker: CompletionMarker | None) -> None:
    """The rows of one shard, whose lease is held."""
    written: dict[str, tuple[str, tuple[str, ...]]] = {}
    for path, column in features.manifest.by_path.items():
        dtype, checksums = ("", ()) if marker is None else marker.columns.get(path, ("", ()))
        layout = features.layout(path)
        keys = [f"{features.prefix}/{layout.chunk_key(n)}" for n in range(layout.first[index], layout.first[index + 1])]
        try:
            if dtype != column.dtype:
                raise DamageError(f"{path} is not written")
            places = _vectors(layout, index, rows)
            written[path] = dtype, _overwritten(features, column, layout, keys, checksums, places)
        except DamageError:  # a chunk that no marker vouches for, or is damaged, may hold the rows too
            for key in keys:
                features.files.remove(key)
    if marker is not None:
        skipped = {**marker.skipped, **dict.fromkeys(rows.tolist(), WITHDRAWN)}
        features.completion.write(index, replace(marker, columns=written, skipped=skipped))


def _vectors(layout: ColumnLayout, index: int, rows: np.ndarray) -> np.ndarray:
    """Places of the vectors of these rows in the run of their shard."""
    shard = layout.shards[index]
    offsets = layout.offsets(shard.start, shard.stop)
    places = rows - shard.start
    parts = [np.arange(offsets[place], offsets[place + 1]) for place in places.tolist()]
    return np.concatenate(parts)


def _overwritten(
    features: FeatureSet,
    column: Column,
    layout: ColumnLayout,
    keys: list[str],
    checksums: tuple[str, ...],
    places: np.ndarray,
) -> tuple[str, ...]:
    """The checksums of the column's chunks of a shard, those that hold one of the vectors written again with NaN.

    A chunk with another checksum than the marker's is good where it is whole and holds NaN there: a process was killed
    between the two writes. Raises DamageError for any other.
    """
    size, level, found = layout.chunk_vectors, features.manifest.zstd_level, []
    for chunk, (key, expected) in enumerate(zip(keys, checksums, strict=True)):
        inside = places[(places >= chunk * size) & (places < (chunk + 1) * size)] - chunk * size
        if not len(inside):
            found.append(expected)
            continue
        values, checksum = _read(features, key, column, size)
        is_done = bool(np.isnan(values[inside]).all())
        if checksum != expected and not is_done:
            raise DamageError(f"{key} is not what was written")
        if not is_done:
            values[inside] = np.nan
            checksum = write_chunk(features.files, key, values, rows=size, level=level)
        found.append(checksum)
    return tuple(found)


def _read(features: FeatureSet, key: str, column: Column, size: int) -> tuple[np.ndarray, str]:
    """A chunk (size, width), to be written to, and its checksum as hex. Raises DamageError for one that is missing or
    does not fit its own checksum."""
    try:
        raw = features.files.read(key)
        data, checksum = raw[:-CRC_BYTES], crc32c(memoryview(raw)[:-CRC_BYTES])
        if checksum != int.from_bytes(raw[-CRC_BYTES:], "little"):
            raise ValueError("its bytes have changed")
        if features.manifest.zstd_level is not None:
            data = zstd.unpacked(data)
        values = np.frombuffer(data, dtype=np.dtype(column.dtype).newbyteorder("<")).reshape(size, column.width)
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        raise DamageError(f"{key} does not read: {error}") from None
    return values.astype(column.dtype), f"{checksum:08x}"
