"""What a store says is done, running and missing, from empty to whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from structure.pipeline.stages.status import status
from structure.store import FeatureSet, Manifest, Samples, Store
from structure.store.shard_writer import ShardWriter, write_shard

Fill = Callable[[FeatureSet, dict[str, np.ndarray]], None]


def commands(store: Store) -> list[str]:
    return [row["command"].partition(" --")[0] for row in status(store)["missing"]]


def test_each_step_is_missing_until_it_is_done(
    store: Store, samples: Samples, values: dict[str, np.ndarray], manifest: Callable[..., Manifest], fill: Fill
) -> None:
    assert not any(status(store).values())
    table = store.put_samples(samples)
    vision = store.allocate(manifest(), table)
    shard, *_ = vision.pending()
    with ShardWriter(vision, shard):
        (row,) = status(store)["features"]
        assert (row["done"], row["rows"], row["running"]) == (0, 300, 1)
        assert commands(store) == ["structure extract"]  # the other side; this one is being written
    write_shard(vision, shard, {name: values[name][shard.start : shard.stop] for name in vision.layers})
    assert status(store)["missing"][0]["what"] == "236 rows of toy/train/vit"
    assert commands(store) == ["structure import FILE", "structure extract"]
    fill(vision, values)
    text = manifest(encoder="bert", modality="text", rows_of="captions", captions=1, identity={"encoder": {}})
    fill(store.allocate(text, table), values)
    assert commands(store) == ["structure rank-layers"]
    ranking: dict[str, Any] = {"best": {"vision_layer": "embed", "text_layer": "pooled", "score": 0.5}}
    store.folder("rankings", "r").write("ranking.json", json.dumps(ranking).encode())
    assert status(store)["rankings"] == [{"ranking": "r", "chosen": "embed with pooled", "score": 0.5}]
    assert commands(store) == ["structure align"]
    store.folder("aligners", "a").write("aligner.json", b"{}")
    assert status(store)["missing"] == [
        {"what": "results of a", "command": "structure eval --suite S --aligner a"},
    ]
    store.folder("results", "a").write("results.parquet", b"")
    assert commands(store) == []


def test_a_damaged_ranking_is_told_and_hides_nothing_else(store: Store, features: FeatureSet) -> None:
    for body in (b"{", b"[]", b'{"best": {}}', b"[" * 100_000):
        store.folder("rankings", "r").write("ranking.json", body)
        found = status(store)
        (row,) = found["rankings"]
        assert row["chosen"].startswith("does not read")
        assert row["score"] is None
        assert found["features"][0]["state"] == "complete"
