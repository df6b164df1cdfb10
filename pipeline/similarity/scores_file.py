"""`scores.nc` of a ranking: its matrix as netCDF-3 with CF conventions, which xarray opens with the layers' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from structure.pipeline.similarity.netcdf import NetcdfVariable, netcdf_file

if TYPE_CHECKING:
    from structure.pipeline.similarity.permutation_test import RankedScores

SIDES = ("vision_layer", "text_layer")


def scores_file(ranking: Mapping[str, Any], ranked: RankedScores, curve: np.ndarray | None) -> bytes:
    """The scores under the metric's name over `vision_layer` and `text_layer`, float64, with `k`, `rows`, `preset` and
    `seed` as attributes; where there are, null-adjusted scores (`calibrated`), `p_value`, `null` (permutation,) and the
    mutual kNN at every k (`mutual_knn_at_k`)."""
    variables = [_names(side, ranking[side.removesuffix("_layer")]["layers"]) for side in SIDES]
    made = {name: ranking[name] for name in ("k", "rows", "preset", "seed")}
    facts = {name: value if isinstance(value, str) or value < 2**31 else float(value) for name, value in made.items()}
    variables.append(_numbers(ranking["metric"], SIDES, ranked.scores, facts))
    if ranked.null is not None:
        variables.append(_numbers("calibrated", SIDES, ranked.null.adjusted))
        variables.append(_numbers("p_value", SIDES, ranked.null.p_values))
        variables.append(_numbers("null", ("permutation",), ranked.null.largest))
    if curve is not None:
        variables.append(_numbers("mutual_knn_at_k", ("k", *SIDES), curve))
        variables.append(NetcdfVariable("k", ("k",), np.arange(1, len(curve) + 1, dtype=np.int32)))
    return netcdf_file(variables)


def _numbers(
    name: str, dimensions: tuple[str, ...], values: Sequence[float] | np.ndarray, facts: Mapping[str, Any] | None = None
) -> NetcdfVariable:
    numbers = np.asarray(values, dtype=np.float64)
    return NetcdfVariable(name, dimensions, numbers, {"_FillValue": np.float64(np.nan), **(facts or {})})


def _names(name: str, names: Sequence[str]) -> NetcdfVariable:
    """Strings as UTF-8 bytes along a dimension of their own."""
    encoded = [each.encode() for each in names]
    longest = max(len(each) for each in encoded)
    letters = np.array(encoded, f"S{longest}").view("S1").reshape(len(names), longest)
    return NetcdfVariable(name, (name, f"string{longest}"), letters, {"_Encoding": "utf-8"})
