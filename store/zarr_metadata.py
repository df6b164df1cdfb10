"""The zarr v3 metadata of a feature set: they follow from its manifest, its sample ids and its token counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from structure.store.arrow_arrays import Ids, strings
from structure.store.column_layout import TOKENS, Column
from structure.store.manifest import ATTRIBUTE, Manifest
from structure.store.without_warnings import without_warnings
from structure.store.zarr_strings import string_chunk


def zarr_documents(manifest: Manifest, ids: Ids, lengths: np.ndarray | None = None) -> dict[str, bytes]:
    """Every metadata file of the zarr group, the `sample` coordinate, and the token counts, as relative key -> bytes.

    Written by zarr itself into memory, so that they are what zarr writes (but for the ids, `string_chunk`);
    deterministic, so that `verify` can compare and `repair` can write them again. The group's attributes hold a second
    copy of the manifest. Columns of the commonest width share the dimension `feature`; others get `feature_<width>`,
    since one name must have one size. Tokens lie in the subgroup `tokens`, as `(sample, token, feature)`, or, where
    rows differ in their tokens (`lengths` must be given then), as `(token, feature)` with `start` and `length` of each
    sample.
    """
    import zarr
    from zarr.storage import MemoryStore

    documents: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(documents), attributes={ATTRIBUTE: manifest.body()})
    feature = _dimension("feature", [column.width for column in manifest.columns])
    for column in manifest.columns:
        shape, chunk = (manifest.rows, column.width), (manifest.shard_rows, column.width)
        _features(group, manifest, column, shape, chunk, ("sample", feature(column.width)))
    _samples(group, len(ids))
    if manifest.tokens:
        _tokens(group.create_group(TOKENS), manifest, len(ids), lengths)
    with without_warnings():  # that consolidated metadata are not in the v3 text yet; xarray reads them
        zarr.consolidate_metadata(group.store)
    written = {name: buffer.to_bytes() for name, buffer in documents.items()}
    of_ids = string_chunk(strings(ids))
    if of_ids is not None:
        written |= {f"{part}sample/c/0": of_ids for part in ("", f"{TOKENS}/")[: 2 if manifest.tokens else 1]}
    return dict(sorted(written.items()))


def _tokens(group: Any, manifest: Manifest, count: int, lengths: np.ndarray | None) -> None:
    feature = _dimension("feature", [column.width for column in manifest.tokens])
    token = _dimension("token", [column.tokens or 0 for column in manifest.tokens])
    _samples(group, count)
    for column in manifest.tokens:
        shape: tuple[int, ...]
        chunk: tuple[int, ...]
        dims: tuple[str, ...]
        if column.tokens is None:
            shape, chunk = (column.chunks * column.chunk, column.width), (column.chunk, column.width)
            dims = ("token", feature(column.width))
        else:
            shape = (manifest.rows, column.tokens, column.width)
            chunk = (column.chunk, column.tokens, column.width)
            dims = ("sample", token(column.tokens), feature(column.width))
        about = {"prefix": column.prefix, "grid": None if column.grid is None else list(column.grid)}
        _features(group, manifest, column, shape, chunk, dims, about)
    if manifest.is_ragged:
        if lengths is None:
            raise ValueError(f"{manifest.key}: the token counts of its texts are needed")
        ragged = next(column for column in manifest.tokens if column.tokens is None)
        _coordinate(group, "length", np.asarray(lengths, dtype=np.int64))
        _coordinate(group, "start", manifest.layout(ragged, lengths).starts())


def _features(
    group: Any,
    manifest: Manifest,
    column: Column,
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    dims: tuple[str, ...],
    attributes: dict[str, Any] | None = None,
) -> None:
    from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

    codecs = [] if manifest.zstd_level is None else [ZstdCodec(level=manifest.zstd_level)]
    group.create_array(
        column.name,
        shape=shape,
        chunks=chunk,
        dtype=column.dtype,
        serializer=BytesCodec(endian="little"),
        compressors=[*codecs, Crc32cCodec()],
        fill_value=float("nan"),  # a shard that is not there reads as NaN, never as a plausible zero
        dimension_names=dims,
        attributes=attributes,
    )


def _samples(group: Any, count: int) -> None:
    """The array of the sample ids, without its chunk."""
    _one_chunk(group, "sample", count, str)


def _coordinate(group: Any, name: str, values: np.ndarray) -> None:
    """An array `(sample,)` of one chunk."""
    _one_chunk(group, name, len(values), values.dtype)[:] = values


def _one_chunk(group: Any, name: str, count: int, dtype: Any) -> Any:
    from zarr.codecs import Crc32cCodec

    return group.create_array(
        name,
        shape=(count,),
        chunks=(count,),
        dtype=dtype,
        compressors=[Crc32cCodec()],
        dimension_names=("sample",),
    )


def _dimension(name: str, sizes: list[int]) -> Callable[[int], str]:
    """Names for a dimension of several sizes: the commonest has the plain name."""
    common = max(sizes, key=sizes.count)
    return lambda size: name if size == common else f"{name}_{size}"
