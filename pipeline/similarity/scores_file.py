"""`scores.nc` of a ranking: its matrix as netCDF-3 with CF conventions, which xarray opens with the layers' names.

Written by SciPy: xarray, which would write the same, takes longer to import than the file takes to write.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.io import netcdf_file

if TYPE_CHECKING:
    from structure.pipeline.similarity.permutation_test import RankedScores

SIDES = ("vision_layer", "text_layer")


def scores_file(ranking: Mapping[str, Any], ranked: RankedScores, curve: np.ndarray | None) -> bytes:
    """The scores under the metric's name over `vision_layer` and `text_layer`, float64, with `k`, `rows`, `preset` and
    `seed` as attributes; where there are, null-adjusted scores (`calibrated`), `p_value`, `null` (permutation,) and the
    mutual kNN at every k (`mutual_knn_at_k`)."""
    buffer = _Kept()
    with netcdf_file(buffer, "w") as file:
        for side in SIDES:
            _names(file, side, ranking[side.removesuffix("_layer")]["layers"])
        scores = _numbers(file, ranking["metric"], SIDES, ranked.scores)
        for name in ("k", "rows", "preset", "seed"):
            value = ranking[name]
            setattr(scores, name, value if isinstance(value, str) or value < 2**31 else float(value))
        if ranked.null is not None:
            _numbers(file, "calibrated", SIDES, ranked.null.adjusted)
            _numbers(file, "p_value", SIDES, ranked.null.p_values)
            _numbers(file, "null", ("permutation",), ranked.null.largest)
        if curve is not None:
            _numbers(file, "mutual_knn_at_k", ("k", *SIDES), curve)
            file.createVariable("k", np.dtype(">i4"), ("k",))[:] = np.arange(1, len(curve) + 1)
    return buffer.written


class _Kept(io.BytesIO):
    """Keeps its bytes when it is closed, as the file that writes into it does."""

    written = b""

    def close(self) -> None:
        self.written = self.getvalue()
        super().close()


def _numbers(file: Any, name: str, dimensions: Sequence[str], values: np.ndarray) -> Any:
    for dimension, size in zip(dimensions, values.shape, strict=True):
        if dimension not in file.dimensions:
            file.createDimension(dimension, size)
    variable = file.createVariable(name, np.dtype(">f8"), tuple(dimensions))
    variable[:] = values
    variable._FillValue = np.array(np.nan, ">f8")
    return variable


def _names(file: Any, name: str, names: Sequence[str]) -> None:
    """Strings as UTF-8 bytes along a dimension of their own."""
    encoded = [each.encode() for each in names]
    longest = max(len(each) for each in encoded)
    file.createDimension(name, len(names))
    if f"string{longest}" not in file.dimensions:
        file.createDimension(f"string{longest}", longest)
    variable = file.createVariable(name, np.dtype("S1"), (name, f"string{longest}"))
    variable[:] = np.array(encoded, f"S{longest}").view("S1").reshape(len(names), longest)
    variable._Encoding = "utf-8"
