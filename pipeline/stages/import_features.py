"""Precomputed features into the store, so that ranking, aligning and evaluating need no encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from structure.pipeline.datasets.dataset import Dataset
from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.datasets.pairs import PairsKind
from structure.pipeline.extraction.dataset_samples import read_samples
from structure.pipeline.progress import Listener, silent
from structure.pipeline.run_context import RunContext
from structure.store import Column, FeatureSet, Manifest, SampleItem, Samples, Store, open_store
from structure.store.errors import NotPresentError, StructureError
from structure.store.manifest import RowKind
from structure.store.shard import shard_size
from structure.store.shard_writer import write_shard

IDS = "ids"


def import_features(
    file: str | Path,
    *,
    model: str,
    modality: Literal["vision", "audio", "text"],
    dataset: str,
    store: Store | str | Path,
    split: str = "train",
    samples: str | None = None,
    dtype: Literal["auto", "fp16", "fp32"] = "auto",
    on_event: Listener = silent,
) -> FeatureSet:
    """Keep the `(rows, width)` arrays of an `.npz` or `.safetensors` file as a feature set; each key names a layer.

    An array `ids` (strings, one a row) names the samples; without it, rows are in the order of the sample index, or
    named by their number if there is none yet. `samples` is a pairs file that brings captions and labels; its images
    need not be there. `dtype` auto keeps float16 where every value fits it exactly as stored, float32 otherwise. Raises
    StructureError for rows that do not match, and NotPresentError where the file is not there.
    """
    target = store if isinstance(store, Store) else open_store(store)
    path = Path(file).expanduser()
    if not path.is_file():
        raise NotPresentError(f"There is no file {path.absolute()}.")
    arrays = _arrays(path)
    ids = [str(name) for name in arrays.pop(IDS)] if IDS in arrays else None
    rows = _checked_rows(path, arrays, ids)
    table = _row_table(target, dataset, split, samples, ids, rows, on_event)
    rows_of, captions = _kind_of_rows(path, modality, table, rows)
    order = _order(path, ids, table, rows_of, captions)
    columns = tuple(
        Column(name, values.shape[1], "float32" if dtype == "fp32" else _dtype(values, dtype))
        for name, values in arrays.items()
    )
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
    features = target.allocate(manifest, table)
    for shard in features.pending():
        part = order[shard.start : shard.stop]
        write_shard(features, shard, {name: np.asarray(values)[part] for name, values in arrays.items()})
    return features


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Layer name -> array; nothing is unpickled."""
    if path.suffix not in (".npz", ".safetensors"):
        raise StructureError(f"{path.name}: features are imported from .npz or .safetensors, not {path.suffix!r}.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            return dict(load_file(path))
        with np.load(path, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name]) for name in archive.files}
    except Exception as error:  # damaged bytes may raise anything
        raise StructureError(f"{path} does not read as {path.suffix}: {error or type(error).__name__}") from None


def _checked_rows(path: Path, arrays: Mapping[str, Any], ids: list[str] | None) -> int:
    if not arrays:
        raise StructureError(f"{path.name} holds no array. It needs one (rows, width) array a layer.")
    for name, values in arrays.items():
        if values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
            raise StructureError(
                f"{path.name}: {name!r} is {values.dtype} of shape {values.shape}; a layer is a (rows, width) array "
                "of floating-point numbers."
            )
        broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(broken):
            raise StructureError(
                f"{path.name}: {name!r} holds a NaN or an infinity in {len(broken):,} of {len(values):,} rows, first "
                f"in row {broken[0]}. Such a row spoils every head and every similarity. Leave it out of every array."
            )
    counts = {name: len(values) for name, values in arrays.items()} | ({IDS: len(ids)} if ids is not None else {})
    if len(set(counts.values())) != 1:
        told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        raise StructureError(f"{path.name}: the arrays have different numbers of rows ({told}).")
    return next(iter(counts.values()))


def _row_table(
    store: Store,
    dataset: str,
    split: str,
    pairs: str | None,
    ids: list[str] | None,
    rows: int,
    on_event: Listener,
) -> Samples:
    if pairs is not None:
        source: Dataset
        kind, colon, file = pairs.partition(":")
        if colon and kind != "pairs":
            source = open_dataset(pairs, split=None, data_root=".")
        else:
            source = PairsKind("pairs").open(
                file if colon else pairs, split=None, data_root=Path("."), seed=0, with_images=False
            )
        source.name, source.split = dataset, split
        return read_samples(RunContext.of(store, on_event=on_event), source)
    if store.files.exists(Samples.file(dataset, split)):
        return store.samples(dataset, split)
    names = ids if ids is not None else [str(row) for row in range(rows)]
    return store.put_samples(Samples.build(dataset, split, [SampleItem(name) for name in names]))


def _kind_of_rows(path: Path, modality: str, table: Samples, rows: int) -> tuple[RowKind, int | None]:
    """What a row is: a sample, a sample's first caption, or every caption."""
    kinds: list[tuple[RowKind, int | None]] = [("items", None)]
    if modality == "text" and len(table.caption_rows()):
        kinds = [("captions", 1), ("captions", None)]
    counts = [len(table.row_ids(rows_of, captions)) for rows_of, captions in kinds]
    for kind, count in zip(kinds, counts, strict=True):
        if count == rows:
            return kind
    names = {("items", None): "one a sample", ("captions", 1): "one a sample", ("captions", None): "one a caption"}
    wanted = " or ".join(f"{count:,} ({names[kind]})" for kind, count in zip(kinds, counts, strict=True))
    raise StructureError(
        f"{path.name} has {rows:,} rows; {table.dataset}/{table.split} needs {wanted}. "
        "Rows of features must be rows of the data, or pairs would be false."
    )


def _order(path: Path, ids: list[str] | None, table: Samples, rows_of: RowKind, captions: int | None) -> np.ndarray:
    """(rows,) position in the file of each row of the feature set. First captions go by the id of their sample."""
    expected = table.row_ids(rows_of, captions)
    if ids is None:
        return np.arange(len(expected))
    if rows_of == "captions" and captions == 1:
        expected = [table.item_ids[item] for item in table.item_of_caption(1)]
    place = {name: position for position, name in enumerate(ids)}
    if len(place) != len(ids):
        twice = next(name for position, name in enumerate(ids) if place[name] != position)
        raise StructureError(f"{path.name}: the id {twice!r} stands twice in {IDS!r}.")
    missing = [name for name in expected if name not in place]
    if missing:
        raise StructureError(
            f"{path.name} has no row for {len(missing):,} of {len(expected):,} ids of the sample index, the first is "
            f"{missing[0]!r}. Its ids are like {ids[0]!r}."
        )
    return np.array([place[name] for name in expected], dtype=np.int64)


def _dtype(values: np.ndarray, dtype: str) -> str:
    if values.dtype == np.float16 or dtype == "fp16":
        return "float16"
    with np.errstate(over="ignore"):
        return "float16" if np.array_equal(values.astype(np.float16).astype(values.dtype), values) else "float32"


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}\0{arrays[name].dtype}\0{arrays[name].shape}\0".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
