"""Feature sets as xarray: lazy dask arrays in float32, whatever the stored dtype."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from structure.store.column_layout import TOKENS, tokens_path
from structure.store.errors import StructureError
from structure.store.files import Files
from structure.store.shard_ranges import Shard

if TYPE_CHECKING:
    import xarray as xr


def as_xarray(
    files: Files, prefix: str, pending: Mapping[Shard, Collection[str]], *, tokens: bool = False
) -> xr.Dataset:
    """The layers of the feature set at `prefix`, or their `tokens`, as lazy arrays chunked as on disk; float16 becomes
    float32.

    xarray adds float16 in float16, and dask counts rows in the dtype of the array: of 70,000 float16 rows every mean is
    0 or NaN. Skipped rows are NaN. `pending` are the shards with columns that are not written yet. Raises
    StructureError while one of them is read here: its rows would be NaN too, and left out of every mean.
    """
    import xarray as xr

    lacking = sum(any(name.startswith(tokens_path("")) == tokens for name in names) for names in pending.values())
    if lacking:
        raise StructureError(
            f"{prefix} lacks {lacking} shard{'s' if lacking > 1 else ''}: the rows would read as NaN and be left out "
            "of every mean. Run the command that writes it again, then read it."
        )
    stored = xr.open_zarr(files.zarr_store(prefix), group=TOKENS if tokens else None)
    return stored.assign({name: x.astype(np.float32) for name, x in stored.items() if x.dtype == np.float16})


def tree(sets: Mapping[str, xr.Dataset], *, incomplete: Collection[str]) -> xr.DataTree:
    """The datasets by key `<dataset>/<split>/<encoder>`; the attribute `incomplete` lists keys that are left out."""
    import xarray as xr

    return xr.DataTree.from_dict({"/": xr.Dataset(attrs={"incomplete": list(incomplete)}), **sets})
