"""Hold a feature set against what was written: every checksum, every count, every row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from structure.store.chunk import page_aligned
from structure.store.column_reader import ColumnReader
from structure.store.completion_markers import CompletionMarkers
from structure.store.errors import DamageError
from structure.store.files import Files
from structure.store.manifest import Manifest
from structure.store.sample_table import Samples
from structure.store.shard_ranges import Shard
from structure.store.zarr_coordinates import read_ids, read_lengths
from structure.store.zarr_metadata import zarr_documents


@dataclass(frozen=True)
class Fault:
    """One thing that is not as it was written. `part` says what repairs it: `metadata` and `shard` follow from the
    manifest and the encoder, `lengths` from the encoder's tokenizer, `rows` from the dataset. `shard` is the index of
    the shard, None for the other parts."""

    key: str
    part: Literal["metadata", "rows", "lengths", "shard"]
    what: str
    shard: int | None = None

    def __str__(self) -> str:
        return f"{self.key}: {self.what}"


def faults_of(files: Files, prefix: str, manifest: Manifest) -> list[Fault]:
    """Every fault: metadata, sample index, markers, chunks, and NaN outside the skipped rows."""
    faults: list[Fault] = []
    lengths: np.ndarray | None = None
    readable = True
    try:
        lengths = read_lengths(files, prefix, manifest)
    except DamageError as error:
        readable = False
        faults.append(Fault(manifest.key, "lengths", str(error)))
    samples = _sample_index(files, manifest)
    if readable and isinstance(samples, Samples) and _follows(files, prefix, manifest, samples, lengths):
        faults += [Fault(manifest.key, "rows", what) for what in _row_faults(samples, manifest, None)]
    else:  # the stored ids are read to say what differs
        try:
            ids = read_ids(files, prefix)
        except Exception as error:  # zarr raises many kinds on damaged metadata; all mean the same here
            told = f"the zarr metadata or the sample ids do not read ({type(error).__name__}: {error})"
            faults.append(Fault(manifest.key, "metadata", told))
        else:
            if readable:
                documents = zarr_documents(manifest, ids.tolist(), lengths)
                faults += [Fault(manifest.key, "metadata", what) for what in _metadata_faults(files, prefix, documents)]
            faults += [Fault(manifest.key, "rows", what) for what in _row_faults(samples, manifest, ids)]
    columns = [
        ColumnReader(files, prefix, manifest, manifest.layout(column, lengths))
        for column in manifest.by_path.values()
        if readable or column.tokens is not None  # without the token counts nothing is known of where tokens lie
    ]
    markers = CompletionMarkers(files, prefix, manifest)
    # One for all chunks: memory that is new to the process is cleared first, which takes as long as reading into it.
    memory = page_aligned((max((column.chunk_bytes for column in columns), default=0),), "uint8")
    for index, shard in enumerate(manifest.shards):
        for what in _shard_faults(markers, columns, index, shard, memory):
            faults.append(Fault(manifest.key, "shard", f"{shard}: {what}", index))
    return faults


def _metadata_faults(files: Files, prefix: str, documents: Mapping[str, bytes]) -> Iterator[str]:
    for name, expected in documents.items():
        try:
            if files.read(f"{prefix}/{name}") != expected:
                yield f"{name} is not what was written"
        except FileNotFoundError:
            yield f"{name} is missing"


def _sample_index(files: Files, manifest: Manifest) -> Samples | str:
    """The sample index, read through; what is wrong with it where it does not read."""
    try:
        samples = Samples.read(files, manifest.dataset, manifest.split)
        samples.read_through()
    except FileNotFoundError:
        return f"its sample index {Samples.file(manifest.dataset, manifest.split)} is missing"
    except DamageError as error:
        return str(error)
    return samples


def _follows(files: Files, prefix: str, manifest: Manifest, samples: Samples, lengths: np.ndarray | None) -> bool:
    """Whether metadata and ids are the very bytes that follow from the manifest and the sample index: then nothing of
    them needs to be read as objects, which take 200 MB for a million ids."""
    # A table that has grown since is right as long as its first rows are these.
    expected = samples.row_id_array(manifest.rows_of, manifest.captions, manifest.views)[: manifest.rows]
    if len(expected) != manifest.rows:
        return False
    return not any(_metadata_faults(files, prefix, zarr_documents(manifest, expected, lengths)))


def _row_faults(samples: Samples | str, manifest: Manifest, ids: np.ndarray | None) -> Iterator[str]:
    """What differs between the sample index and the feature set, whose ids are `ids` (None: the expected ones)."""
    table = Samples.file(manifest.dataset, manifest.split)
    if isinstance(samples, str):
        yield samples
        return
    if ids is not None:
        names = samples.row_ids(manifest.rows_of, manifest.captions, manifest.views)
        expected = np.array(names[: manifest.rows], dtype=str)
        if len(expected) != manifest.rows:
            yield f"{manifest.rows} rows, and {len(expected)} in the sample index {table}"
            return
        differ = np.flatnonzero(ids != expected)
        if len(differ):
            row = int(differ[0])
            yield f"row {row} is {str(ids[row])!r}, and {str(expected[row])!r} in the sample index {table}"
    written = manifest.identity.get("data", {}).get("digest")
    if written and samples.digest(manifest.rows_of, manifest.captions, rows=manifest.rows // manifest.views) != written:
        finish = ""
        if samples.is_withdrawn.any():
            finish = (
                f": samples were withdrawn and this was not finished. Finish it with drop-items of {manifest.dataset}"
            )
        yield f"the sample index {table} does not describe the data that the features were made from{finish}"


def _shard_faults(
    markers: CompletionMarkers, columns: Sequence[ColumnReader], index: int, shard: Shard, memory: np.ndarray
) -> Iterator[str]:
    try:
        marker = markers.read(index)
    except DamageError as error:
        yield str(error)
        return
    if marker is None:
        yield "not written"
        return
    if marker.shard != shard:
        yield f"{markers.key(index)} speaks of {marker.shard}"
        return
    for files in columns:
        for fault in files.faults(index, marker, memory):
            yield f"{files.column.label}: {fault}"
