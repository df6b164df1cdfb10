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


def export(features: FeatureSet, path: Path, layers: Sequence[str] = ()) -> Path:
    """Write `ids` and the layers (all by default) of the rows that could be read; the ending decides the format.

    `.npz`: one array a layer and `ids`. `.safetensors`: one tensor a layer, ids as JSON metadata. `.parquet`: a column
    `sample` and one fixed-size-list column a layer. The file appears whole or not at all.
    """
    if path.suffix not in FORMATS:
        raise StructureError(f"{path.name}: features are exported to {', '.join(FORMATS)}, not {path.suffix!r}.")
    rows = features.valid
    ids = features.ids[rows]
    arrays = {layer: features.rows(layer)[rows] for layer in (layers or features.layers)}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    if path.suffix == ".npz":
        np.savez(part, allow_pickle=False, ids=ids, **arrays)
    elif path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file(arrays, part, metadata={"ids": json.dumps(ids.tolist()), "features": features.key})
    else:
        columns = [
            pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
            for values in arrays.values()
        ]
        pq.write_table(pa.table([pa.array(ids.tolist()), *columns], names=["sample", *arrays]), part)
    part.replace(path)
    return path
