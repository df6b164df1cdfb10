"""Aligned embeddings as files of other programs: Parquet, NumPy, safetensors, and the folders of clip-retrieval."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from structure.pipeline.inference.written_files import whole_file
from structure.store.errors import StructureError


@dataclass(frozen=True)
class EmbeddedRow:
    """What a row is: `id` of the sample or of its caption, `path` of its image ("" where it has no file here), `file`
    what has become of that, `caption` its text."""

    id: str
    path: str
    file: str
    caption: str


@dataclass(frozen=True)
class EmbeddingTable:
    """Embeddings to be written: `rows` in order, and `blocks()`, their values (n, dim) a block at a time."""

    rows: tuple[EmbeddedRow, ...]
    dim: int
    blocks: Callable[[], Iterator[np.ndarray]]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.dim


def write_parquet(path: Path, table: EmbeddingTable) -> None:
    """Columns `id`, `path`, `caption` and `embedding`, a list of `dim` float32."""
    schema = pa.schema(
        [(name, pa.string()) for name in ("id", "path", "caption")] + [("embedding", pa.list_(pa.float32(), table.dim))]
    )
    start = 0
    with whole_file(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        for values in table.blocks():
            rows = table.rows[start : start + len(values)]
            flat = pa.array(values.astype(np.float32).ravel())
            columns = [pa.array([getattr(row, name) for row in rows]) for name in ("id", "path", "caption")]
            columns.append(pa.FixedSizeListArray.from_arrays(flat, table.dim))
            writer.write_table(pa.table(columns, schema=schema))
            start += len(values)


def write_npy(path: Path, table: EmbeddingTable) -> None:
    """`(rows, dim)` float32, and beside it `<name>.ids.json`, the ids in the same order."""
    write_array(path, table, np.float32)
    with whole_file(path.with_suffix(".ids.json")) as partial:
        partial.write_text(json.dumps([row.id for row in table.rows], ensure_ascii=False), encoding="utf-8")


def write_array(path: Path, table: EmbeddingTable, dtype: type[np.floating]) -> None:
    """`(rows, dim)` in NumPy's format."""
    with whole_file(path) as partial, partial.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": table.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for values in table.blocks():
            file.write(np.ascontiguousarray(values, dtype=dtype).data)


def write_safetensors(path: Path, table: EmbeddingTable) -> None:
    """The tensor `embeddings` (rows, dim) float32; the file's metadata hold `ids`, a JSON list."""
    from safetensors.numpy import save_file

    values = np.concatenate([np.empty((0, table.dim), np.float32), *table.blocks()]).astype(np.float32)
    with whole_file(path) as partial:
        ids = json.dumps([row.id for row in table.rows], ensure_ascii=False)
        save_file({"embeddings": values}, partial, metadata={"ids": ids})


WRITERS: Mapping[str, Callable[[Path, EmbeddingTable], None]] = {
    ".parquet": write_parquet,
    ".npy": write_npy,
    ".safetensors": write_safetensors,
}
"""By the ending of the file."""


def write_clip_retrieval(folder: Path, images: EmbeddingTable, texts: EmbeddingTable | None) -> None:
    """The folders that clip-retrieval's `inference` writes and its `index` reads, of one part: `img_emb/img_emb_0.npy`
    and `text_emb/text_emb_0.npy` float16, `metadata/metadata_0.parquet` with `image_path`, `caption` and `id`; row i of
    each is of one image. Raises StructureError where the folder is there and not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StructureError(f"{folder} is there and not empty; an export would mix with it. Choose another folder.")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        write_array(partial / "img_emb" / "img_emb_0.npy", images, np.float16)
        if texts is not None:
            write_array(partial / "text_emb" / "text_emb_0.npy", texts, np.float16)
        columns = {
            "image_path": [row.path for row in images.rows],
            "caption": [row.caption for row in images.rows],
            "id": [row.id for row in images.rows],
        }
        (partial / "metadata").mkdir(parents=True)
        pq.write_table(pa.table(columns), partial / "metadata" / "metadata_0.parquet")
        if folder.exists():
            folder.rmdir()
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
