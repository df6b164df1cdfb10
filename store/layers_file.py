"""Layers of a feature set as one file for other tools: npz, safetensors or Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from structure.store.errors import StructureError
from structure.store.feature_set import FeatureSet

FORMATS = (".npz", ".safetensors", ".parquet")


def write_layers(features: FeatureSet, path: Path, layers: Sequence[str] = (), tokens: Sequence[str] = ()) -> Path:
    """Write `ids`, the layers (all by default) and the tokens of some layers (none by default) of the rows that could
    be read; the ending decides the format.

    `.npz`: one array a layer and `ids`. `.safetensors`: one tensor a layer, ids as JSON metadata. Tokens are
    `<layer>.tokens` (tokens, width), row after row, with `<layer>.offsets` (rows + 1,). `.parquet`: a column `sample`,
    one fixed-size-list column a layer, and a list of such lists for tokens. The file appears whole or not at all.
    """
    if path.suffix not in FORMATS:
        raise StructureError(f"{path.name}: features are exported to {', '.join(FORMATS)}, not {path.suffix!r}.")
    rows = features.valid
    ids = features.ids[rows]
    arrays = {layer: features.rows(layer)[rows] for layer in (layers or features.layers)}
    found = {layer: features.tokens(layer) for layer in tokens}
    offsets = {layer: np.concatenate([[0], np.cumsum(kept.lengths[rows])]) for layer, kept in found.items()}
    if path.suffix != ".parquet":
        arrays |= {f"{layer}.tokens": kept.values for layer, kept in found.items()}
        arrays |= {f"{layer}.offsets": places for layer, places in offsets.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    if path.suffix == ".npz":
        np.savez(part, allow_pickle=False, ids=ids, **arrays)
    elif path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file(arrays, part, metadata={"ids": json.dumps(ids.tolist()), "features": features.key})
    else:
        columns = {layer: _vectors(values) for layer, values in arrays.items()}
        for layer, kept in found.items():
            columns[f"{layer}.tokens"] = pa.LargeListArray.from_arrays(pa.array(offsets[layer]), _vectors(kept.values))
        pq.write_table(pa.table({"sample": pa.array(ids.tolist()), **columns}), part)
    part.replace(path)
    return path


def _vectors(values: np.ndarray) -> pa.Array:
    """(n, width) as n lists of one size."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
