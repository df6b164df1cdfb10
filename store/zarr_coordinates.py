"""Coordinates of a feature set read back from zarr: its sample ids and its token counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from structure.store.column_layout import TOKENS
from structure.store.errors import DamageError
from structure.store.files import Files
from structure.store.manifest import Manifest, lengths_digest


def read_ids(files: Files, prefix: str) -> np.ndarray:
    """The `sample` coordinate of a feature set: (rows,) string array. Raises DamageError."""
    return np.array(_read(files, prefix, "sample").tolist(), dtype=str)


def read_lengths(files: Files, prefix: str, manifest: Manifest) -> np.ndarray | None:
    """Token counts of texts, (rows,) int64; None where all rows have as many. Raises DamageError if they changed."""
    if not manifest.is_ragged:
        return None
    lengths = np.asarray(_read(files, f"{prefix}/{TOKENS}", "length"), dtype=np.int64)
    if lengths_digest(lengths) != manifest.lengths:
        raise DamageError(f"The token counts of {manifest.key} have changed.")
    return lengths


def _read(files: Files, prefix: str, name: str) -> Any:
    import zarr

    try:
        return zarr.open_group(files.zarr_store(prefix), mode="r")[name][:]
    except Exception as error:  # zarr may raise anything over damaged metadata
        raise DamageError(f"{prefix}: the coordinate {name} does not read: {error or type(error).__name__}.") from None
