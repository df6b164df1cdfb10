"""A store that an earlier release wrote (format 2): it opens, verifies, ranks and aligns, and every row is the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from structure.pipeline import align, rank_layers
from structure.pipeline.aligners import TrainingOptions
from structure.pipeline.datasets.unpacking import unpack
from structure.store import Store, open_store


@pytest.fixture(scope="module")
def written_before(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("format2")
    unpack(real_data / "store-format2.tar.xz", folder)
    return open_store(folder / "store-format2")


def test_every_layer_has_the_rows_that_were_written(written_before: Store, real_data: Path) -> None:
    digests = json.loads((real_data / "store-format2.rows.json").read_text())
    assert sorted(digests) == sorted(written_before)
    for key, layers in digests.items():
        features = written_before[key]
        assert set(features.layers) == set(layers)
        assert features.verify() == []
        for layer, digest in layers.items():
            rows = np.ascontiguousarray(features.rows(layer))
            assert hashlib.sha256(rows.tobytes()).hexdigest()[:16] == digest, (key, layer)


def test_it_ranks_and_aligns(written_before: Store) -> None:
    before = json.loads(written_before.folder("rankings").read(f"{_only(written_before)}/ranking.json"))
    ranking = rank_layers(store=written_before, k=before["k"], device="cpu").ranking
    assert (ranking["k"], ranking["rows"]) == (before["k"], before["rows"])
    assert ranking["scores"] == before["scores"]
    for field in ("vision_layer", "text_layer", "score"):
        assert ranking["best"][field] == before["best"][field]
    aligned = align("auto", store=written_before, options=TrainingOptions(method="ridge"))
    assert aligned.to_json()["pairs"] > 0


def _only(store: Store) -> str:
    (name,) = store.folder("rankings").holding("ranking.json")
    return name
