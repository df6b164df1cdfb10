"""Prompts are told from data by their samples' kind, not by a word in a split's name."""

from __future__ import annotations

import json
from pathlib import Path

from structure.pipeline import align, evaluate, extract, rank_layers
from structure.pipeline.aligners import TrainingOptions
from structure.pipeline.page.source import Source
from structure.store import open_store

ENCODERS = ["bundled:scenes-vit", "bundled:scenes-text"]
SUITE = """\
name: s
version: 1
tasks: [{dataset: 'scenes:12', split: test, kind: zeroshot_classification, metric: acc1, prompts: plain, label: colour}]
"""


def test_a_split_whose_name_speaks_of_prompts_is_data(tmp_path: Path) -> None:
    from structure.pipeline.datasets import open_dataset

    images = open_dataset("scenes:40", data_root=tmp_path)
    rows = []
    for index in range(len(images)):
        images.image(index).save(tmp_path / f"{index}.png")
        rows.append({"image": f"{index}.png", "caption": images.item(index).captions[0], "split": "prompts-v2"})
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    store = open_store(tmp_path / "store")
    extract(ENCODERS, f"pairs:{tmp_path}/pairs.jsonl", split="prompts-v2", store=store, layers=["block.03"])
    assert rank_layers(store=store, k=3, calibrate=10).ranking["split"] == "prompts-v2"
    assert {features.manifest.split for features in Source.of(store, None).features} == {"prompts-v2"}


def test_prompts_of_an_evaluation_are_no_data(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    extract(ENCODERS, "scenes:40", store=store, layers=["block.03"])
    align("last", store=store, options=TrainingOptions(method="ridge"), name="a")
    (tmp_path / "suite.yaml").write_text(SUITE)
    evaluate(str(tmp_path / "suite.yaml"), store=store, aligners=["a"], data_root=tmp_path)
    everything = {features.manifest.split for features in store.feature_sets()}
    data = {features.manifest.split for features in Source.of(store, None).features}
    assert {split.partition(".")[0] for split in everything - data} == {"prompts"}
    assert rank_layers(store=store, dataset="scenes", split="train", k=3, calibrate=10).ranking["split"] == "train"
