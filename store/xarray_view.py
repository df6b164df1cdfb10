"""Feature sets as xarray: lazy dask arrays in float32, whatever the stored dtype."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from structure.store.errors import StructureError
from structure.store.manifest import TOKENS

if TYPE_CHECKING:
    import xarray as xr

    from structure.store.feature_set import FeatureSet


def as_xarray(features: FeatureSet, *, tokens: bool = False) -> xr.Dataset:
    """The layers of a feature set, or their `tokens`, as lazy arrays chunked as on disk; float16 becomes float32.

    xarray adds float16 in float16, and dask counts rows in the dtype of the array: of 70,000 float16 rows every mean is
    0 or NaN. Skipped rows are NaN. Raises StructureError while shards are missing: their rows would be NaN too, and
    left out of every mean.
    """
    import xarray as xr

    if tokens or not features.is_complete:
        _require_whole(features, tokens=tokens)
    stored = xr.open_zarr(features.files.zarr_store(features.prefix), group=TOKENS if tokens else None)
    halves = {name: array.astype(np.float32) for name, array in stored.items() if array.dtype == np.float16}
    return stored.assign(halves)


def tree(sets: Iterable[FeatureSet]) -> xr.DataTree:
    """The complete ones as a tree, `<dataset>/<split>/<encoder>`; its attribute `incomplete` lists the others' keys."""
    import xarray as xr

    given = list(sets)
    nodes = {features.key: as_xarray(features) for features in given if features.is_complete}
    others = [features.key for features in given if not features.is_complete]
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs={"incomplete": others}), **nodes})


def _require_whole(features: FeatureSet, *, tokens: bool) -> None:
    prefix = f"{TOKENS}/" if tokens else ""
    lacking = sum(any(name.startswith(prefix) for name in names) for names in features.pending().values())
    if lacking:
        raise StructureError(
            f"{features.key} lacks {lacking} of {len(features.manifest.shards)} shards: their rows would read as NaN "
            "and be left out of every mean. Run its structure extract again, then read it."
        )
