"""The rows of an index in the store: which they are, whether they are still what was indexed, and what is new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from structure.pipeline.inference.aligned_embeddings import Side
from structure.pipeline.inference.embedding_records import changed_shards, continues
from structure.pipeline.inference.gallery import GallerySplit, SplitGallery
from structure.pipeline.inference.gallery_sources import GalleryChoice, GallerySource
from structure.pipeline.inference.image_files import SplitFiles
from structure.pipeline.inference.index_folder import COLUMNS, IndexFolder
from structure.pipeline.run_context import RunContext
from structure.pipeline.similarity.knn.top_k import TopK
from structure.store import Manifest
from structure.store.errors import FingerprintError, StructureError
from structure.store.fingerprint import differences


def rows_table(context: RunContext, gallery: SplitGallery, rows: np.ndarray) -> pa.Table:
    """What some rows of a gallery are: `COLUMNS`, in their order."""
    files = {split.name: SplitFiles(context, split) for split in gallery.splits}
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for row in rows.tolist():
        split, number = gallery.locate(row)
        found = split.row(number)
        values = (split.name, number, found.id, files[split.name].file(found.sample).path, found.text)
        for name, value in zip(COLUMNS, values, strict=True):
            columns[name].append(value)
    types = {"number": pa.int64()}
    return pa.table({name: pa.array(values, types.get(name, pa.string())) for name, values in columns.items()})


def open_indexed(folder: IndexFolder, source: GallerySource) -> SplitGallery:
    """What an index was made from, as it is in the store now. Raises FingerprintError where it is something else, and
    StructureError where it is not there."""
    record = folder.record
    side: Side = "vision" if record.of == "images" else "text"
    splits: list[GallerySplit] = []
    for manifest in record.manifests():
        gallery = source.open_stored(GalleryChoice(manifest.dataset, manifest.split), side)
        if gallery is None:
            raise StructureError(
                f"{folder.path} is an index of {manifest.key}, which is not whole in {source.context.store.url}. "
                f"Extract it again: structure extract --dataset {manifest.dataset}"
            )
        splits += gallery.splits
    whole = SplitGallery(splits, dim=record.dim)
    require_same(folder, whole)
    return whole


def require_same(folder: IndexFolder, gallery: SplitGallery) -> None:
    """Raises FingerprintError where the splits of the index are not the first rows of those in the gallery."""
    now = {split.name: split.aligned.manifest for split in gallery.splits}
    for old in folder.record.manifests():
        new = now.get(f"{old.dataset}/{old.split}")
        why = f"{old.dataset}/{old.split} is not among what is indexed now" if new is None else _change(old, new)
        if why:
            raise FingerprintError(
                f"{folder.path} is an index of something else: {why}. Its rows would be taken for others. Make it "
                f"again in a new folder: structure index --dataset {folder.record.dataset} --out DIR"
            )


def require_order(folder: IndexFolder, gallery: SplitGallery) -> None:
    """Raises FingerprintError where a row of the index has another id in the gallery now."""
    splits = {split.name: split for split in gallery.splits}
    columns = (folder.table[name].to_pylist() for name in ("split", "number", "id"))
    for name, number, item in zip(*columns, strict=True):
        now = splits[name].row(number).id
        if now != item:
            raise FingerprintError(
                f"{folder.path}: row {number:,} of {name} was {item!r} when it was indexed, and is {now!r} now. New "
                "rows would not match the old ones. Make the index again in a new folder."
            )


def indexed_rows(folder: IndexFolder, gallery: SplitGallery) -> np.ndarray:
    """(rows,) int64: the gallery's row of every row of the index."""
    first = _first_rows(gallery)
    names, numbers = (folder.table[name].to_pylist() for name in ("split", "number"))
    return np.array([first[name] + number for name, number in zip(names, numbers, strict=True)], dtype=np.int64)


def nearest_rows(folder: IndexFolder, gallery: SplitGallery, queries: np.ndarray, k: int) -> TopK:
    """The rows of the gallery that the index finds for queries (n, dim), with their scores; -1 for none."""
    scores, rows = folder.nearest(queries, k)
    first, table = _first_rows(gallery), folder.table
    places = {-1: -1}
    for row in set(rows.ravel().tolist()) - {-1}:
        places[row] = first[table["split"][row].as_py()] + table["number"][row].as_py()
    found = np.array([[places[row] for row in some] for some in rows.tolist()], dtype=np.int64)
    return TopK(scores.astype(np.float64), found.reshape(rows.shape))


def _first_rows(gallery: SplitGallery) -> Mapping[str, int]:
    return {split.name: edge for split, edge in zip(gallery.splits, gallery.edges, strict=False)}


def _change(old: Manifest, new: Manifest) -> str:
    """What tells the features and the aligner of an index from those of now; "" where they are the same, or grown."""
    if not continues(old, new):
        fields = [field for field in differences(new.identity, old.identity) if field[0] != "data.digest"]
        if new.rows < old.rows:
            return f"{old.key} had {old.rows:,} rows and has {new.rows:,}"
        if not fields:
            return f"the values of {old.key} have changed"
        path, now, then = fields[0]
        return f"{path} of {old.key} was {then!r} and is {now!r}"
    unfinished = {len(old.shards) - 1} if old.rows % old.shard_rows and new.rows > old.rows else set()
    changed = set(changed_shards(old, new)) - unfinished
    return f"{len(changed)} of {len(old.shards)} shards of {old.key} have changed" if changed else ""
