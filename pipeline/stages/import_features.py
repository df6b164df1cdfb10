"""Precomputed features into the store, so that ranking, aligning and evaluating need no encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np

from structure.pipeline.datasets.dataset import Dataset
from structure.pipeline.datasets.feature_files import FeatureFile, read_feature_file
from structure.pipeline.datasets.loading import find_kind, open_dataset
from structure.pipeline.datasets.pairs import PairsKind
from structure.pipeline.datasets.registry import DATASET_KINDS
from structure.pipeline.datasets.row_blocks import bounds, forget, row_blocks
from structure.pipeline.datasets.split_names import pick_split
from structure.pipeline.extraction.sample_index import read_samples, without_withdrawn
from structure.pipeline.progress import Listener, Note, silent
from structure.pipeline.run_context import RunContext
from structure.pipeline.stage_requests.checks import require_name
from structure.store import Column, FeatureSet, Manifest, Samples, Store, open_store
from structure.store.arrow_arrays import numbered, strings
from structure.store.cast import FLOAT16_MAX
from structure.store.errors import FingerprintError, StructureError, nearest
from structure.store.fingerprint import differences
from structure.store.manifest import RowKind
from structure.store.sample_table import WITHDRAWN
from structure.store.shard_ranges import Shard, shard_size
from structure.store.shard_writer import write_shard

WRITERS = 4
"""Shards that are written at a time: a write waits for the disk several times."""

IN_FLIGHT_BYTES = 64 * 2**20
"""What these shards have together at most (one where a shard has more)."""

KNOWN_MODALITIES = ("vision", "audio", "text")
"""Those that encoders have."""


def import_features(
    file: str | Path,
    *,
    model: str,
    modality: str,
    dataset: str,
    store: Store | str | Path,
    split: str = "train",
    samples: str | None = None,
    dtype: Literal["auto", "fp16", "fp32"] = "auto",
    on_event: Listener = silent,
) -> FeatureSet:
    """Keep the `(rows, width)` arrays of a file (`read_feature_file`: NumPy, safetensors, torch, Parquet) as a feature
    set; each key names a layer. `modality` is vision, audio, text or any other name: two of them are ranked and aligned
    like vision and text.

    `ids` in the file (one a row) name the samples; without them, rows are in the order of the sample index, or named by
    their number if there is none yet. `samples` is a pairs file that brings captions and labels; its images need not be
    there. `dtype` auto keeps float16 where every value fits it exactly as stored, float32 otherwise. Everything is
    checked before anything is written. Raises StructureError for rows that do not match and values that do not fit, and
    NotPresentError where the file is not there.
    """
    require_name("--modality", modality)
    near = [] if modality in KNOWN_MODALITIES else nearest(modality, KNOWN_MODALITIES)
    if near:
        on_event(Note(f"{modality} is a modality of its own. If {near[0]} is meant: --modality {near[0]}"))
    target = store if isinstance(store, Store) else open_store(store)
    path = Path(file).expanduser()
    given = read_feature_file(path)
    for note in given.notes:
        on_event(Note(f"{path.name}: {note}"))
    arrays, ids, rows = given.layers, given.ids, given.rows
    columns = tuple(
        Column(name, values.shape[1], "float32" if dtype == "fp32" else _dtype(values, dtype))
        for name, values in arrays.items()
    )
    for column in columns:
        _require_fit(path, given, column)
    table = _row_table(target, dataset, split, samples, ids, rows, on_event)
    rows_of, captions = _kind_of_rows(path, modality, table, rows)
    withdrawn = table.is_withdrawn[table.item_of_row(rows_of, captions)]
    order = _order(path, ids, table, rows_of, captions, withdrawn=withdrawn, rows=rows)
    rows = len(order)
    manifest = Manifest(
        dataset=dataset,
        split=split,
        encoder=model,
        modality=modality,
        rows_of=rows_of,
        rows=rows,
        captions=captions,
        shard_rows=shard_size(rows, sum(column.vector_bytes for column in columns)),
        columns=columns,
        identity={
            "encoder": {"source": "import", "name": model, "layers": {c.name: c.width for c in columns}},
            "data": {
                "dataset": dataset,
                "split": split,
                "rows_of": rows_of,
                "captions": captions,
                "digest": table.digest(rows_of, captions),
                "values": _digest(arrays),
            },
            "extraction": {"layers": [column.name for column in columns], "dtype": dtype},
        },
        provenance={"encoder": model, "imported_from": path.name},
    )
    features = _same_values(target, manifest) or _allocated(target, manifest, table, path)
    if features.modality != modality:
        raise StructureError(
            f"{features.key} is there as {features.modality}, and --modality says {modality}: a feature set is of one "
            f"modality. Pass another --model, or remove it first: structure store rm features/{features.key} --yes"
        )

    def write(shard: Shard) -> None:
        part = order[shard.start : shard.stop]
        in_place = slice(int(part[0]), int(part[-1]) + 1) if (np.diff(part) == 1).all() else part
        skipped = {shard.start + int(row): WITHDRAWN for row in np.flatnonzero(withdrawn[shard.start : shard.stop])}
        write_shard(features, shard, {name: values[in_place] for name, values in arrays.items()}, skipped=skipped)
        for values in arrays.values():
            forget(values)

    shard_bytes = manifest.shard_rows * sum(column.vector_bytes for column in columns)
    with ThreadPoolExecutor(max(1, min(WRITERS, IN_FLIGHT_BYTES // shard_bytes))) as pool:
        for _ in pool.map(write, features.pending()):
            pass
    return features


def _require_fit(path: Path, given: FeatureFile, column: Column) -> None:
    """Refuse values that the layer's type cannot hold, before the feature set has its name."""
    values = given.layers[column.name]
    if column.dtype == "float32" or values.dtype == np.float16:
        return
    low, high = bounds(values)
    if max(-low, high) <= FLOAT16_MAX:
        return
    row = int(np.flatnonzero((np.abs(values) > FLOAT16_MAX).any(axis=1))[0])
    sample = given.ids[row] if given.ids is not None else f"row {row}"
    raise StructureError(
        f"{path.name}: {values[row][np.abs(values[row]).argmax()]:.6g} in layer {column.name}, {sample}, is beyond "
        f"float16's {FLOAT16_MAX:.0f}. Nothing was written. Pass --dtype auto, which keeps this layer in float32, or "
        "--dtype fp32."
    )


def _allocated(store: Store, manifest: Manifest, table: Samples, path: Path) -> FeatureSet:
    """The feature set to fill. Raises FingerprintError where its name is that of another file's."""
    try:
        return store.allocate(manifest, table)
    except FingerprintError as error:
        there = (store[manifest.key].manifest.provenance or {}).get("imported_from", "an encoder")
        raise FingerprintError(
            f"The features {manifest.key} are there, from {there}, and {path.name} holds others. Pass another --model "
            f"for this file, or another --store. ({error})"
        ) from None


def _same_values(store: Store, manifest: Manifest) -> FeatureSet | None:
    """The feature set of this name that holds the same bytes and was asked for by another --dtype."""
    if manifest.key not in store:
        return None
    there = store[manifest.key]
    fields = {path for path, _, _ in differences(manifest.identity, there.manifest.identity)}
    return there if fields == {"extraction.dtype"} and there.manifest.columns == manifest.columns else None


def _row_table(
    store: Store,
    dataset: str,
    split: str,
    pairs: str | None,
    ids: Sequence[str] | None,
    rows: int,
    on_event: Listener,
) -> Samples:
    if pairs is not None:
        spec = pairs if pairs.partition(":")[0] in DATASET_KINDS else f"pairs:{pairs}"
        kind, argument = find_kind(spec)
        source: Dataset
        if isinstance(kind, PairsKind):
            whole = kind.open(argument, split="all", data_root=Path("."), seed=0, with_images=False)
            part = _part(whole, split, spec=spec, dataset=dataset)
            source = kind.open(argument, split=part, data_root=Path("."), seed=0, with_images=False)
        else:
            source = open_dataset(spec, split=None, data_root=".")
            if source.splits:
                source = open_dataset(spec, split=_part(source, split, spec=spec, dataset=dataset), data_root=".")
        source.name, source.split = dataset, split
        context = RunContext.of(store, on_event=on_event)
        return read_samples(context, without_withdrawn(context, source, split=split))
    if store.files.exists(Samples.file(dataset, split)):
        return store.samples(dataset, split)
    names = numbered(rows) if ids is None else strings(ids)
    return store.put_samples(Samples.of_ids(dataset, split, names))


def _part(whole: Dataset, split: str, *, spec: str, dataset: str) -> str:
    """Which rows of a pairs file are the split of that name: its own part, or all where it has no parts."""
    part = pick_split(split, whole.splits) if whole.splits else "all"
    if part is None and split != "all":
        raise StructureError(
            f"{spec} has the splits {', '.join(whole.splits)}, and none of them is {split}: rows of another split "
            f"would be called {dataset}/{split}. Pass --split {whole.splits[0]}, or --split all."
        )
    return part or "all"


def _kind_of_rows(path: Path, modality: str, table: Samples, rows: int) -> tuple[RowKind, int | None]:
    """What a row is: a sample, a sample's first caption, or every caption."""
    kinds: list[tuple[RowKind, int | None]] = [("items", None)]
    if modality == "text" and len(table.caption_rows()):
        kinds = [("captions", 1), ("captions", None)]
    counts = [table.row_count(rows_of, captions) for rows_of, captions in kinds]
    gone = [int(table.is_withdrawn[table.item_of_row(rows_of, captions)].sum()) for rows_of, captions in kinds]
    for kind, count, fewer in zip(kinds, counts, gone, strict=True):
        if rows in (count, count - fewer):  # with or without the samples that were withdrawn
            return kind
    names = {("items", None): "one a sample", ("captions", 1): "one a sample", ("captions", None): "one a caption"}
    wanted = " or ".join(f"{count:,} ({names[kind]})" for kind, count in zip(kinds, counts, strict=True))
    raise StructureError(
        f"{path.name} has {rows:,} rows; {table.dataset}/{table.split} needs {wanted}. "
        "Rows of features must be rows of the data, or pairs would be false."
    )


def _order(
    path: Path,
    ids: Sequence[str] | None,
    table: Samples,
    rows_of: RowKind,
    captions: int | None,
    *,
    withdrawn: np.ndarray,
    rows: int,
) -> np.ndarray:
    """(rows of the feature set,) position of each in the file, of `rows` rows; 0 of a withdrawn one. First captions go
    by the id of their sample."""
    if ids is None and rows == len(withdrawn):
        return np.arange(rows)
    if ids is None:
        return np.where(withdrawn, 0, np.cumsum(~withdrawn) - 1)
    by_item = rows_of == "captions" and captions == 1
    if not by_item and table.row_id_array(rows_of, captions).equals(strings(ids)):
        return np.arange(rows)
    expected = table.row_ids(rows_of, captions)
    if by_item:
        expected = [table.item_ids[item] for item in table.item_of_caption(1)]
    place = {name: position for position, name in enumerate(ids)}
    missing = [name for name, gone in zip(expected, withdrawn, strict=True) if not gone and name not in place]
    if missing:
        fit = {name.strip() for name in ids}.issuperset(expected)
        hint = " Without the white space around them they would fit." if fit else ""
        if expected == [str(row) for row in range(len(expected))]:
            hint += (
                f" {table.dataset}/{table.split} has row numbers for ids, as after an import of a file without ids: "
                "pass another --dataset for the files with ids, or leave the ids out."
            )
        raise StructureError(
            f"{path.name} has no row for {len(missing):,} of {len(expected):,} ids of the sample index, the first is "
            f"{missing[0]!r}. Its ids are like {ids[0]!r}.{hint}"
        )
    return np.array([place.get(name, 0) for name in expected], dtype=np.int64)


def _dtype(values: np.ndarray, dtype: str) -> str:
    if values.dtype == np.float16 or dtype == "fp16":
        return "float16"
    with np.errstate(over="ignore"):
        exact = all(
            np.array_equal(block.astype(np.float16).astype(values.dtype), block) for _, block in row_blocks(values)
        )
    return "float16" if exact else "float32"


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}\0{arrays[name].dtype}\0{arrays[name].shape}\0".encode())
        for _, block in row_blocks(arrays[name]):
            digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()
