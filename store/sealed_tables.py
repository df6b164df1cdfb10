"""Parquet files that carry a seal, and the digests of the files beside them, in their metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from structure.store.seals import MEMBER, Seal, SealError, closed, require_own

FILES = "structure-files"
"""What the list of the files beside a table is called in its metadata: JSON, name -> hex SHA-256."""


def packed(table: pa.Table, seal: Seal | None = None, *, beside: Mapping[str, str] | None = None) -> bytes:
    """The content of a Parquet file of this key and owner, without a seal for one that a record beside it lists;
    `beside` are the digests of files that belong to it."""
    noted = dict(table.schema.metadata or {})
    if beside is not None:
        noted[FILES.encode()] = json.dumps(dict(beside), sort_keys=True).encode()
    if seal is not None:
        noted[MEMBER.encode()] = seal.blank.encode()
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(noted), sink, compression="zstd", write_page_checksum=True)
    data = bytes(memoryview(sink.getvalue()))
    return data if seal is None else closed(data)


def unpacked(data: bytes, own: Seal | None = None, *, any_owner: bool = False) -> pa.Table:
    """The table of a Parquet file; `own`: it must be the one of this key and owner, or one without a seal. Raises
    SealError where it is not, or does not read."""
    seal = None if own is None else require_own(data, own, any_owner=any_owner)
    try:
        # Without pyarrow's threads and as one file, as the sample index is read.
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise SealError(f"does not read: {error}") from None
    if own is not None and seal is None and MEMBER.encode() in (table.schema.metadata or {}):
        raise SealError("is not what was written: its seal is damaged")
    return table


def listed_beside(table: pa.Table) -> dict[str, str] | None:
    """The digests of the files that belong to a table; None where it lists none."""
    noted = (table.schema.metadata or {}).get(FILES.encode())
    return None if noted is None else dict(json.loads(noted))
