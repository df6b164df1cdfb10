"""A small feature set with known values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from structure.store import Column, FeatureSet, Manifest, SampleItem, Samples, Store, open_store
from structure.store.shard_writer import write_shard

COLUMNS = (Column("embed", 8), Column("block.00", 24), Column("block.01", 24), Column("pooled", 5, "float32"))


@pytest.fixture
def samples() -> Samples:
    """300 samples of two captions each."""
    items = [SampleItem(f"item{i}", (f"caption {i}", f"other words {i}"), digest=f"{i:x}") for i in range(300)]
    return Samples.build("toy", "train", items)


@pytest.fixture
def values() -> dict[str, np.ndarray]:
    """What the feature set holds, float32."""
    random = np.random.default_rng(0)
    return {column.name: random.standard_normal((300, column.width)).astype(np.float32) for column in COLUMNS}


def toy_manifest(**changes: object) -> Manifest:
    """The manifest of the toy feature set, with some fields changed."""
    fields: dict[str, object] = {
        "dataset": "toy",
        "split": "train",
        "encoder": "vit",
        "modality": "vision",
        "rows_of": "items",
        "rows": 300,
        "shard_rows": 64,
        "columns": COLUMNS,
        "identity": {"encoder": {"weights": "abc"}, "extraction": {"pooling": ["cls"]}},
    }
    return Manifest(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def manifest() -> Callable[..., Manifest]:
    return toy_manifest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def write_all(features: FeatureSet, values: dict[str, np.ndarray]) -> None:
    """Fill everything that is pending."""
    for shard, names in features.pending().items():
        write_shard(features, shard, {name: values[name][shard.start : shard.stop] for name in names})


@pytest.fixture
def fill() -> Callable[[FeatureSet, dict[str, np.ndarray]], None]:
    return write_all


@pytest.fixture
def features(store: Store, samples: Samples, values: dict[str, np.ndarray]) -> FeatureSet:
    """The toy feature set, complete."""
    made = store.allocate(toy_manifest(), store.put_samples(samples))
    write_all(made, values)
    return made
