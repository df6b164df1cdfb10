"""The immutable record of one feature set, and the zarr metadata that follows from it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from structure.store.chunk import crc32c
from structure.store.errors import DamageError, StructureError
from structure.store.files import Files, check_key
from structure.store.fingerprint import canonical, fingerprint
from structure.store.shard import Shard, plan_shards

FORMAT = 1
ATTRIBUTE = "structure"
"""The attribute of the zarr group that holds the second copy of the manifest."""

RESERVED = ("sample", "done", "claims", "manifest.json", "zarr.json")

Modality = Literal["vision", "text"]
RowKind = Literal["items", "captions"]


@dataclass(frozen=True)
class Column:
    """One stored array: a layer under one pooling. `dtype` is `float16` or `float32`."""

    name: str
    width: int
    dtype: str = "float16"

    def __post_init__(self) -> None:
        if self.width < 1 or self.dtype not in ("float16", "float32"):
            raise ValueError(f"column {self.name}: width {self.width}, dtype {self.dtype}")

    @property
    def row_bytes(self) -> int:
        return self.width * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Manifest:
    """What a feature set is. `identity` is everything that determines its bytes, in sections `encoder`, `data` and
    `extraction`; `provenance` is what is worth knowing besides (versions, hardware). All values are JSON.

    `rows_of` says whether a row is an item of the samples table or one of its captions; `captions` is how many
    captions of an item are rows (None = all).
    """

    dataset: str
    split: str
    encoder: str
    modality: Modality
    rows_of: RowKind
    rows: int
    shard_rows: int
    columns: tuple[Column, ...]
    identity: Mapping[str, Any]
    captions: int | None = None
    zstd_level: int | None = None
    provenance: Mapping[str, Any] | None = None
    format: int = FORMAT

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if self.rows < 1 or not names or len(set(names)) != len(names):
            raise ValueError(f"a feature set of {self.rows} rows and the columns {names}")
        for name in (self.dataset, self.split, self.encoder, *names):
            if check_key(name) in RESERVED or "/" in name:
                raise StructureError(f"{name!r} cannot name a dataset, split, encoder or layer in the store.")

    @property
    def key(self) -> str:
        return f"{self.dataset}/{self.split}/{self.encoder}"

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over the identity."""
        return fingerprint(self.identity)

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        return plan_shards(self.rows, self.shard_rows)

    @property
    def size(self) -> int:
        """Bytes of all columns on disk, before compression."""
        return len(self.shards) * self.shard_rows * sum(column.row_bytes for column in self.columns)

    def column(self, name: str) -> Column:
        """The column of that name. Raises KeyError."""
        return next(column for column in self.columns if column.name == name)

    def widened(self, name: str) -> Manifest:
        """The same with one column in float32: what `--dtype auto` does where float16 overflows."""
        columns = tuple(replace(c, dtype="float32") if c.name == name else c for c in self.columns)
        return replace(self, columns=columns)

    def body(self) -> dict[str, Any]:
        """All fields as JSON values, with the fingerprint and a checksum over everything else."""
        body: dict[str, Any] = json.loads(canonical(asdict(self) | {"fingerprint": self.fingerprint}))
        return body | {"checksum": f"{crc32c(memoryview(canonical(body))):08x}"}

    def to_json(self) -> bytes:
        """The file `manifest.json`."""
        return json.dumps(self.body(), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, *, source: str) -> Manifest:
        """Read back what `to_json` wrote. Raises DamageError, or StructureError for a newer format."""
        try:
            body = json.loads(data)
            written = int(body["format"])
        except (ValueError, TypeError, KeyError) as error:
            raise DamageError(f"{source} is not a manifest: {error}.") from None
        if written > FORMAT:
            raise StructureError(
                f"{source} was written in store format {written}; this version reads up to {FORMAT}. "
                "Install a newer version: pip install -U structure-align"
            )
        try:
            checksum = body.pop("checksum")
            if checksum != f"{crc32c(memoryview(canonical(body))):08x}":
                raise ValueError("its checksum does not fit its content")
            body.pop("fingerprint")
            body["columns"] = tuple(Column(**column) for column in body["columns"])
            return cls(**body)
        except (ValueError, TypeError, KeyError) as error:
            raise DamageError(f"{source} is damaged: {error}.") from None


def read_ids(files: Files, prefix: str) -> np.ndarray:
    """The `sample` coordinate of a feature set: (rows,) string array."""
    import zarr

    group = zarr.open_group(files.zarr_store(prefix), mode="r")
    return np.array(group["sample"][:].tolist(), dtype=str)


def zarr_documents(manifest: Manifest, ids: list[str]) -> dict[str, bytes]:
    """Every metadata file of the zarr group, and the `sample` coordinate, as relative key -> bytes.

    Written by zarr itself into memory, so that they are what zarr writes; deterministic, so that `verify` can compare
    and `repair` can write them again. The group's attributes hold a second copy of the manifest. Columns of the
    commonest width share the dimension `feature`; others get `feature_<width>`, since one name must have one size.
    """
    import zarr
    from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
    from zarr.storage import MemoryStore

    widths = [column.width for column in manifest.columns]
    common = max(widths, key=widths.count)
    documents: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(documents), attributes={ATTRIBUTE: manifest.body()})
    codecs = [] if manifest.zstd_level is None else [ZstdCodec(level=manifest.zstd_level)]
    for column in manifest.columns:
        group.create_array(
            column.name,
            shape=(manifest.rows, column.width),
            chunks=(manifest.shard_rows, column.width),
            dtype=column.dtype,
            serializer=BytesCodec(endian="little"),
            compressors=[*codecs, Crc32cCodec()],
            fill_value=float("nan"),  # a shard that is not there reads as NaN, never as a plausible zero
            dimension_names=("sample", "feature" if column.width == common else f"feature_{column.width}"),
        )
    coordinate = group.create_array(
        "sample",
        shape=(len(ids),),
        chunks=(len(ids),),
        dtype=str,
        compressors=[Crc32cCodec()],
        dimension_names=("sample",),
    )
    coordinate[:] = np.array(ids, dtype=np.dtypes.StringDType())
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # zarr warns that consolidated metadata are not in the v3 text yet; xarray reads them
        zarr.consolidate_metadata(group.store)
    return {name: buffer.to_bytes() for name, buffer in sorted(documents.items())}
