"""Hold a feature set against what was written: every checksum, every count, every row."""

from __future__ import annotations

import numpy as np

from structure.store.chunk import read_chunk
from structure.store.errors import DamageError, StructureError
from structure.store.feature_set import FeatureSet
from structure.store.manifest import zarr_documents
from structure.store.mark import Mark
from structure.store.samples import Samples


def faults_of(features: FeatureSet) -> list[str]:
    """One sentence for every fault: metadata, row table, marks, chunks, and NaN outside the skipped rows."""
    return [*_metadata_faults(features), *_row_faults(features), *_shard_faults(features)]


def _metadata_faults(features: FeatureSet) -> list[str]:
    faults = []
    try:
        ids = features.ids.tolist()
    except Exception as error:  # zarr raises many kinds on damaged metadata; all mean the same here
        return [f"{features.key}: the zarr metadata or the sample ids do not read ({type(error).__name__}: {error})"]
    for name, expected in zarr_documents(features.manifest, ids).items():
        try:
            if features.files.read(f"{features.prefix}/{name}") != expected:
                faults.append(f"{features.key}: {name} is not what was written")
        except FileNotFoundError:
            faults.append(f"{features.key}: {name} is missing")
    return faults


def _row_faults(features: FeatureSet) -> list[str]:
    manifest = features.manifest
    try:
        samples = Samples.read(features.files, manifest.dataset, manifest.split)
    except FileNotFoundError:
        return [f"{features.key}: its row table {Samples.file(manifest.dataset, manifest.split)} is missing"]
    except DamageError as error:
        return [f"{features.key}: {error}"]
    expected = samples.row_ids(manifest.rows_of, manifest.captions)
    if len(expected) != manifest.rows:
        return [f"{features.key}: {manifest.rows} rows, and {len(expected)} in the row table"]
    try:
        differ = np.flatnonzero(features.ids != np.asarray(expected, dtype=str))
    except Exception:  # already told by the metadata check
        return []
    if len(differ):
        row = int(differ[0])
        return [f"{features.key}: row {row} is {features.ids[row]!r}, and {expected[row]!r} in the row table"]
    return []


def _shard_faults(features: FeatureSet) -> list[str]:
    manifest, faults = features.manifest, []
    for index, shard in enumerate(manifest.shards):
        where = f"{features.key}, {shard}"
        key = f"{features.prefix}/done/{index:06d}.json"
        try:
            mark = Mark.from_json(features.files.read(key), source=key)
        except FileNotFoundError:
            faults.append(f"{where}: not written")
            continue
        except DamageError as error:
            faults.append(f"{where}: {error}")
            continue
        if mark.shard != shard:
            faults.append(f"{where}: {key} speaks of {mark.shard}")
            continue
        for column in manifest.columns:
            dtype, crc = mark.chunks.get(column.name, ("", ""))
            if dtype != column.dtype:
                faults.append(f"{where}, layer {column.name}: not written as {column.dtype}")
                continue
            values = np.empty((manifest.shard_rows, column.width), dtype=column.dtype)
            path = f"{features.prefix}/{column.name}/c/{index}/0"
            try:
                read_chunk(features.files, path, values, compressed=manifest.zstd_level is not None, expected=crc)
            except (StructureError, OSError, RuntimeError) as error:
                faults.append(f"{where}, layer {column.name}: {error}")
                continue
            empty = ~np.isfinite(values[: len(shard)]).all(axis=1)
            told = np.zeros(len(shard), dtype=bool)
            told[[row - shard.start for row in mark.skipped]] = True
            for row in np.flatnonzero(empty != told)[:1]:
                faults.append(
                    f"{where}, layer {column.name}: row {shard.start + row} is "
                    f"{'not finite' if empty[row] else 'finite, but was skipped'}"
                )
    return faults
