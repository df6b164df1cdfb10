"""An index as a folder that other programs open: `index.faiss`, `rows.parquet` (what each of its rows is), and
`index.json`, the record of what it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from structure.pipeline.inference.index_kinds import load_faiss
from structure.pipeline.inference.written_files import whole_file
from structure.store import Manifest
from structure.store.errors import DamageError, StructureError
from structure.store.local_files import LocalFiles
from structure.store.seals import Seal, SealError, read_json

INDEX, ROWS, RECORD = "index.faiss", "rows.parquet", "index.json"
FORMAT = 1
COLUMNS = ("split", "number", "id", "path", "caption")
"""Of `rows.parquet`: split of the store and number there, id of the sample or its caption, its image, its text."""


@dataclass(frozen=True)
class IndexRecord:
    """What an index was made from, and how good it is.

    `aligner` is a name in the store, `alignment` its run and weights; `of` "images" or "text" of `dataset`, of one
    `split` or all (None), read from a `folder` of images where it is not None. `splits` are the records of the aligned
    embeddings, one a split. `effort` is what its searches spend (None: they are exact), `recall` its recall@10 and
    times, `files` the size and SHA-256 of the other two files, `made_with` versions.
    """

    aligner: str
    alignment: Mapping[str, str]
    of: Literal["images", "text"]
    dataset: str
    split: str | None
    folder: str | None
    kind: str
    rows: int
    dim: int
    splits: Sequence[Mapping[str, Any]]
    effort: int | None
    recall: Mapping[str, Any]
    made_with: Mapping[str, str]
    files: Mapping[str, Mapping[str, Any]]
    format: int = FORMAT

    def manifests(self) -> list[Manifest]:
        """`splits` as manifests. Raises DamageError."""
        return [Manifest.from_json(json.dumps(body).encode(), source=RECORD) for body in self.splits]


class IndexFolder:
    """An index that is there. Raises StructureError where the folder has none, or a newer version's, DamageError where
    its files are not those of its record."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        try:
            body = read_json(LocalFiles(self.path), RECORD)
            if body.get("format") != FORMAT:
                raise StructureError(
                    f"{self.path / RECORD} has format {body.get('format')!r}; this version reads {FORMAT}. Make the "
                    "index again: structure index"
                )
            self.record = IndexRecord(**body)
        except FileNotFoundError:
            raise StructureError(
                f"{self.path} has no index. Make one: structure index --dataset D --out {self.path}"
            ) from None
        except (SealError, TypeError, AttributeError) as error:
            what = error if isinstance(error, SealError) else f"does not read: {error}"
            raise DamageError(
                f"{self.path / RECORD} {what}. Make the index again in a new folder: structure index --dataset D "
                "--out DIR"
            ) from None
        for name in (INDEX, ROWS):
            size = (self.path / name).stat().st_size if (self.path / name).is_file() else 0
            if size != self.record.files[name]["bytes"]:
                raise DamageError(
                    f"{self.path / name} has {size:,} bytes and {self.record.files[name]['bytes']:,} were written: it "
                    f"is not the index of its record. {self._again}"
                )

    @property
    def _again(self) -> str:
        split = f" --split {self.record.split}" if self.record.split else ""
        side = " --of text" if self.record.of == "text" else ""
        data = f"--images {self.record.folder}" if self.record.folder else f"--dataset {self.record.dataset}{split}"
        return (
            "A search in it could give wrong rows. Make it again in a new folder: structure index "
            f"{data}{side} --aligner {self.record.aligner} --out DIR"
        )

    def require_unchanged(self) -> None:
        """Read both files and compare their SHA-256. Raises DamageError."""
        for name in (INDEX, ROWS):
            self._require_digest(name)

    def _require_digest(self, name: str) -> None:
        if _digest(self.path / name) != self.record.files[name]["sha256"]:
            raise DamageError(f"{self.path / name}: its bytes have changed since it was written. {self._again}")

    @cached_property
    def index(self) -> Any:
        """The faiss index, compared with its SHA-256. Raises UsageError without faiss, DamageError for a file that has
        changed or does not read."""
        self._require_digest(INDEX)
        try:
            found = load_faiss().read_index(str(self.path / INDEX))
        except RuntimeError as error:
            raise DamageError(f"{self.path / INDEX} does not read: {error}. {self._again}") from None
        if found.ntotal != self.record.rows or found.d != self.record.dim:
            raise DamageError(
                f"{self.path / INDEX} has {found.ntotal:,} rows and {self.record.rows:,} were written. {self._again}"
            )
        return found

    @cached_property
    def table(self) -> pa.Table:
        """`rows.parquet`: `COLUMNS`. Raises DamageError for a file that has changed."""
        self._require_digest(ROWS)
        return pq.ParquetFile(self.path / ROWS).read(use_threads=False)

    def nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(queries, k) float32 scores, and int64 rows of the index, best first; -1 where a search found fewer."""
        scores, rows = self.index.search(np.ascontiguousarray(queries, dtype=np.float32), min(k, self.record.rows))
        return scores, rows


def write_index(path: Path, index: Any, table: pa.Table, facts: Mapping[str, Any]) -> IndexRecord:
    """Write all three files, the record last: a folder whose writing was stopped is found to be not whole. `facts` are
    the fields of the record but `files`."""
    with whole_file(path / INDEX) as partial:
        load_faiss().write_index(index, str(partial))
    with whole_file(path / ROWS) as partial:
        pq.write_table(table, partial)
    files = {name: {"bytes": (path / name).stat().st_size, "sha256": _digest(path / name)} for name in (INDEX, ROWS)}
    record = IndexRecord(files=files, **facts)
    with whole_file(path / RECORD) as partial:
        partial.write_bytes(Seal(RECORD).json(asdict(record), indent=1, ensure_ascii=False))
    return record


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
