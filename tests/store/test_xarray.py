"""Means over many float16 rows through xarray and dask are those of float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from structure.store import Column, FeatureSet, Manifest, SampleItem, Samples, Store, StructureError
from structure.store.shard_writer import write_shard

ROWS = 70_000


@pytest.fixture
def large(store: Store, manifest: Callable[..., Manifest]) -> tuple[FeatureSet, np.ndarray]:
    """70,000 rows of float16 whose mean is far from 0; row 5 was skipped."""
    samples = store.put_samples(
        Samples.build("toy", "train", [SampleItem(f"{i}", digest=f"{i:x}") for i in range(ROWS)])
    )
    values = np.random.default_rng(0).normal(4, 1, (ROWS, 3)).astype(np.float16)
    features = store.allocate(manifest(rows=ROWS, shard_rows=8192, columns=(Column("embed", 3),)), samples)
    for shard in features.pending():
        missing = {5: "cut short"} if shard.start == 0 else {}
        write_shard(features, shard, {"embed": values[shard.start : shard.stop]}, skipped=missing)
    return features, np.delete(values.astype(np.float64), 5, axis=0)


def test_statistics_of_70_000_float16_rows(large: tuple[FeatureSet, np.ndarray]) -> None:
    features, values = large
    lazy = features.to_xarray()["embed"]
    assert lazy.dtype == np.float32
    assert lazy.chunks is not None
    for array in (lazy, lazy.load()):
        np.testing.assert_allclose(array.mean("sample"), values.mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(array.std("sample"), values.std(axis=0), rtol=1e-4)
        np.testing.assert_allclose(array.sum("sample"), values.sum(axis=0), rtol=1e-4)
        assert (array.count("sample") == ROWS - 1).all()
        centred = array - array.mean("sample")
        np.testing.assert_allclose(centred.mean("sample"), 0, atol=1e-3)
        np.testing.assert_allclose(array[:100].mean(), values[:99].mean(), rtol=1e-4)
    np.testing.assert_array_equal(lazy.values[:5], values[:5].astype(np.float32))


def test_a_store_as_a_tree(
    store: Store, features: FeatureSet, manifest: Callable[..., Manifest], samples: Samples
) -> None:
    begun = store.allocate(manifest(encoder="begun"), samples)
    tree = store.to_xarray()
    np.testing.assert_array_equal(tree[features.key]["embed"].values, features.rows("embed").astype(np.float32))
    assert tree[features.key]["pooled"].dtype == np.float32
    assert tree.attrs["incomplete"] == [begun.key]
    with pytest.raises(StructureError, match="toy/train/begun lacks 5 shards: the rows would read as NaN"):
        begun.to_xarray()
