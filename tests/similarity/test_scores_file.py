"""`scores.nc` opens in xarray as what xarray itself would have written."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from structure.pipeline.similarity.layer_similarity import LayerSimilarity
from structure.pipeline.similarity.scores_file import scores_file
from structure.store.local_files import LocalFiles


@pytest.mark.parametrize("seed", [42, 2**40])
def test_the_file_is_what_xarray_writes(seed: int, tmp_path: Any) -> None:
    random = np.random.default_rng(0)
    scores, curve = random.random((2, 3)), random.random((4, 2, 3))
    scores[0, 1] = np.nan
    null = SimpleNamespace(adjusted=random.random((2, 3)), p_values=random.random((2, 3)), largest=random.random(7))
    ranking: dict[str, Any] = {
        "metric": "mutual_knn",
        "k": 4,
        "rows": 55,
        "preset": "structure",
        "seed": seed,
        "scores": [[None if np.isnan(score) else score for score in row] for row in scores.tolist()],
        "vision": {"layers": ["embed", "bløck.01"]},
        "text": {"layers": ["a", "bb", "cccccccc"]},
    }
    ranked: Any = SimpleNamespace(scores=scores, null=null)
    matrix = LayerSimilarity(ranking, LocalFiles(tmp_path)).scores
    matrix.attrs["seed"] = seed if seed < 2**31 else float(seed)  # netCDF-3 has no larger integers
    expected = matrix.to_dataset()
    expected["calibrated"] = (matrix.dims, null.adjusted)
    expected["p_value"] = (matrix.dims, null.p_values)
    expected["null"] = (("permutation",), null.largest)
    expected["mutual_knn_at_k"] = (("k", *matrix.dims), curve)
    expected.coords["k"] = np.arange(1, 5)
    with (
        xr.open_dataset(io.BytesIO(bytes(expected.to_netcdf(engine="scipy"))), engine="scipy") as theirs,
        xr.open_dataset(io.BytesIO(scores_file(ranking, ranked, curve)), engine="scipy") as ours,
    ):
        xr.testing.assert_identical(ours, theirs)
    with xr.open_dataset(
        io.BytesIO(scores_file(ranking, SimpleNamespace(scores=scores, null=None), None)), engine="scipy"
    ) as plain:
        assert set(plain.variables) == {"mutual_knn", "vision_layer", "text_layer"}
