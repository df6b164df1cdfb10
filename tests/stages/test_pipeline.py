"""Rank, align, evaluate and report over real features; what each keeps, and what each refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from structure.pipeline import align, evaluate, load_aligner, mutual_knn, rank_layers
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.progress import Event, Note, Progress
from structure.pipeline.results import every_result, read_table
from structure.store import Store, StructureError
from structure.store.errors import NotPresentError

QUICK = TrainingOptions(dim=32, epochs=15, learning_rate=3e-3)


@pytest.fixture
def ranked(copied: Store) -> Store:
    rank_layers(store=copied, calibrate=20)
    return copied


def sets(store: Store) -> tuple[Any, Any]:
    keys = store.keys()
    return tuple(store[next(k for k in keys if k.endswith(end))] for end in ("scenes-vit", "scenes-text"))  # type: ignore[return-value]


def test_the_ranking_is_the_plain_measure_over_distinct_rows(copied: Store) -> None:
    found = rank_layers(store=copied, k=10, samples="all", calibrate=20)
    vision, text = sets(copied)
    texts = copied.samples(vision.manifest.dataset, "train").texts(1)
    distinct = [i for i, t in enumerate(texts) if t not in texts[:i]]
    assert found.ranking["rows"] == len(distinct)
    assert found.ranking["folded"] == 240 - len(distinct)
    for v, t in [("block.00", "block.00"), found.best()]:
        plain = mutual_knn(vision.rows(v)[distinct], text.rows(t)[distinct], k=10)
        assert float(found.scores.sel(vision_layer=v, text_layer=t)) == pytest.approx(plain, abs=1e-12)


def test_what_a_ranking_keeps(ranked: Store) -> None:
    found = rank_layers(store=ranked, calibrate=20)
    document = json.loads(found.folder.read("ranking.json"))
    for field in ("metric", "preset", "k", "rows", "seed", "vision", "text", "scores", "best", "runner_up", "seconds"):
        assert field in document
    assert document["best"].keys() >= {"vision_layer", "text_layer", "score", "calibrated", "p_value"}
    assert document["best"]["vision_layer"] in document["reason"]
    assert found.folder.read("heatmap.png").startswith(b"\x89PNG")
    with xr.open_dataset(io.BytesIO(found.folder.read("scores.nc")), engine="scipy") as kept:
        np.testing.assert_array_equal(kept["mutual_knn"].values, document["scores"])
        assert kept.sizes["permutation"] == 20


def test_a_constant_layer_does_not_win(copied: Store) -> None:
    """The CLS token that enters the first block is the same in every image."""
    found = rank_layers(store=copied, calibrate=5)
    assert found.best()[0] != "embed"


def test_neighbours_are_computed_once(copied: Store) -> None:
    first: list[Event] = []
    rank_layers(store=copied, k=20, calibrate=0, forecast=False, on_event=first.append)
    again: list[Event] = []
    found = rank_layers(store=copied, k=5, calibrate=0, forecast=False, on_event=again.append)
    assert any(isinstance(event, Progress) for event in first)
    assert not any(isinstance(event, Progress) for event in again)
    fresh = list(Path(copied.url).glob("neighbours/**/*.npz"))
    for path in fresh:
        path.write_bytes(path.read_bytes()[:100])  # damaged: computed again, the same
    np.testing.assert_array_equal(rank_layers(store=copied, k=5, calibrate=0).scores.values, found.scores.values)


@pytest.mark.parametrize("metric", ["cka", "cknna", "svcca", "cycle-knn"])
def test_other_measures_rank_as_well(copied: Store, metric: str) -> None:
    found = rank_layers(store=copied, metric=metric, samples=100)
    assert found.scores.shape == tuple(len(s.layers) for s in sets(copied))
    assert np.isfinite(found.ranking["best"]["score"])
    json.loads(found.folder.read("ranking.json"))


def test_platonic_preset_clamps(copied: Store) -> None:
    assert rank_layers(store=copied, preset="platonic", calibrate=5).ranking["k"] == 10


def test_ranking_refuses_what_makes_no_sense(copied: Store) -> None:
    with pytest.raises(StructureError, match="Unknown similarity metric 'mutual_kn'.*mutual_knn"):
        rank_layers(store=copied, metric="mutual-kn")
    with pytest.raises(StructureError, match="need at least 51 rows"):
        rank_layers(store=copied, samples=20, k=50)


def test_an_aligner_is_reproducible_and_says_what_it_fits(ranked: Store) -> None:
    one = align("auto", store=ranked, options=QUICK, name="one")
    two = align("auto", store=ranked, options=QUICK, name="two")
    vision, text = sets(ranked)
    x = vision.rows(one.layers["vision"], 0, 50).astype(np.float32)
    first, second = load_aligner(one.folder), load_aligner(two.folder)
    np.testing.assert_array_equal(first.embed_images(x), second.embed_images(x))
    np.testing.assert_allclose(np.linalg.norm(first.embed_images(x), axis=1), 1, rtol=1e-5)
    assert first.metadata["fingerprints"] == {"vision": vision.fingerprint, "text": text.fingerprint}
    document = one.to_json()
    for field in (
        "aligner",
        "method",
        "layers",
        "pairs",
        "epochs",
        "best_epoch",
        "metrics",
        "seconds",
        "pairs_per_second",
    ):
        assert field in document
    history = read_table(one.folder, "history.parquet")
    assert history.num_rows == one.trained.epochs


def test_layers_can_be_last_given_or_wrong(ranked: Store) -> None:
    last = align("last", store=ranked, options=QUICK)
    assert [name.startswith("block.") for name in last.layers.values()] == [True, True]
    given = align("block.00,block.01", store=ranked, options=QUICK)
    assert given.layers == {"vision": "block.00", "text": "block.01"}
    with pytest.raises(StructureError, match=r"Unknown layer 'block\.77'"):
        align("block.77,block.01", store=ranked, options=QUICK)
    with pytest.raises(StructureError, match="--layers 'best': write auto, last"):
        align("best", store=ranked, options=QUICK)


def test_auto_without_a_ranking_says_what_to_run(copied: Store) -> None:
    with pytest.raises(StructureError, match="Run: structure rank-layers"):
        align("auto", store=copied, options=QUICK)


def test_numbers_that_do_not_fit_are_told(ranked: Store) -> None:
    with pytest.raises(StructureError, match="--pairs 999 was asked for and .* has 240 pairs"):
        align("last", store=ranked, options=QUICK, pairs=999)
    with pytest.raises(StructureError, match="--memory allows 1,000"):
        align("last", store=ranked, options=QUICK.changed(method="asif", most_anchors=None), memory=1000)


@pytest.fixture
def evaluated(ranked: Store, tmp_path: Path) -> tuple[Store, Path]:
    """An aligner and a suite over 60 test scenes."""
    align("auto", store=ranked, options=QUICK, name="quick")
    suite = tmp_path / "small.yaml"
    suite.write_text(
        "name: small\nversion: 1\ndefaults: {dataset: 'scenes:60', split: test, metric: acc1, prompts: plain}\n"
        "tasks:\n"
        "  - {label: colour, kind: zeroshot_classification}\n"
        "  - {kind: zeroshot_retrieval, metric: image_retrieval_recall@10, prompts: null}\n"
    )
    return ranked, suite


def test_evaluation_runs_encoders_once_and_then_never(evaluated: tuple[Store, Path]) -> None:
    store, suite = evaluated
    first = evaluate(str(suite), store=store)
    assert first.encoder_passes == 3  # test images, test captions, colour prompts
    again = evaluate(str(suite), store=store)
    assert again.encoder_passes == 0
    assert [r.row() for r in first.results] == [r.row() for r in again.results]
    document = again.to_json()
    for row in document["results"]:
        assert row.keys() >= {"aligner", "dataset", "task", "metric", "value", "low", "high", "n", "chance"}
        assert 0 <= row["low"] <= row["value"] <= row["high"]
        assert row["high"] <= 1 or row["metric"].endswith("median_rank")
    retrieval = next(row for row in document["results"] if row["metric"] == "image_retrieval_recall@10")
    assert retrieval["chance"] == pytest.approx(10 / 60)
    captions = next(r for r in again.results if r.metric == "image_retrieval_recall@10").provenance["captions"]
    assert captions == 300
    assert {key: store[key].verify() for key in store} == {key: [] for key in store}


def test_results_are_kept_in_clip_benchmarks_schema_and_as_tables(evaluated: tuple[Store, Path]) -> None:
    store, suite = evaluated
    done = evaluate(str(suite), store=store)
    folder = store.folder("results", "quick")
    records = [json.loads(folder.read(key)) for key in folder.keys("") if key.endswith(".json") and "/" not in key]
    assert {record["task"] for record in records} == {"zeroshot_classification", "zeroshot_retrieval"}
    assert all(record.keys() == {"dataset", "model", "pretrained", "task", "metrics", "language"} for record in records)
    assert [r.row() for r in every_result(folder)] == [r.row() for r in done.results]
    assert folder.keys("predictions") == [
        "predictions/small@1/scenes_colour_zeroshot_classification.parquet",
        "predictions/small@1/scenes_zeroshot_retrieval.parquet",
    ]
    asked = read_table(folder, folder.keys("predictions")[0])
    assert len(asked["top"][0]) == 5
    cells = read_table(folder, "confusion/small@1/scenes_colour_zeroshot_classification.parquet")
    assert sum(cells["count"].to_pylist()) == asked.num_rows


def test_evaluation_can_name_aligners_and_datasets(evaluated: tuple[Store, Path]) -> None:
    store, suite = evaluated
    with pytest.raises(StructureError, match="Unknown aligner 'quik'.*quick"):
        evaluate(str(suite), store=store, aligners=["quik"])
    with pytest.raises(StructureError, match="Unknown dataset of suite small 'scenes/color'.*scenes/colour"):
        evaluate(str(suite), store=store, datasets=["scenes/color"])


def test_nothing_to_evaluate_says_how_to_get_data(evaluated: tuple[Store, Path], tmp_path: Path) -> None:
    store, _ = evaluated
    with pytest.raises(NotPresentError, match=r"Nothing could be evaluated: none of the 41 datasets"):
        evaluate("clip-benchmark", store=store, data_root=tmp_path / "empty")


def test_an_encoder_that_changed_is_refused(evaluated: tuple[Store, Path]) -> None:
    store, suite = evaluated
    aligner = store.folder("aligners", "quick")
    body = json.loads(aligner.read("aligner.json"))
    body["metadata"]["encoders"]["vision"]["identity"]["weights"] = "0" * 64
    del body["seal"]
    aligner.write("aligner.json", json.dumps(body).encode())
    with pytest.raises(StructureError, match="not the one that the aligner was trained on .weights"):
        evaluate(str(suite), store=store)


def test_stages_tell_what_they_do(ranked: Store) -> None:
    events: list[Event] = []
    align("auto", store=ranked, options=QUICK, on_event=events.append)
    assert any("pairs" in event.text for event in events if isinstance(event, Note))
    assert any(event.what.startswith("training") for event in events if isinstance(event, Progress))
