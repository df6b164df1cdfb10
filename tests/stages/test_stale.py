"""After a dataset has grown, `status` says what was made from fewer samples, and what makes it again."""

from __future__ import annotations

from pathlib import Path

from structure.cli.main import run
from structure.pipeline import align, evaluate, extract, rank_layers
from structure.pipeline.stages.status import status
from structure.store import open_store

VISION, TEXT = "bundled:scenes-vit", "bundled:scenes-text"
SUITE = """name: own
version: 1
tasks:
  - {dataset: 'scenes:24', split: train, kind: zeroshot_retrieval, metric: image_retrieval_recall@1, ks: [1]}
"""


def test_what_was_made_before_the_data_grew_is_stale(tmp_path: Path) -> None:
    store, suite = open_store(tmp_path / "store"), tmp_path / "own.yaml"
    suite.write_text(SUITE)
    extract([VISION, TEXT], "scenes:24", store=store, layers=["block.*"])
    rank_layers(store=store, k=3, calibrate=3, repeats=0)
    align("auto", store=store, method="ridge", name="a")
    evaluate(str(suite), store=store)
    assert status(store)["stale"] == []

    extract([VISION], "scenes:30", store=store, layers=["block.*"], append=True)
    found = {row["what"]: row for row in status(store)["stale"]}
    assert found.keys() == {
        "features scenes/train/scenes-text",
        "features scenes/train/scenes-text.captions-all",
        "ranking scenes.train.scenes-vit.scenes-text.mutual_knn",
        "aligner a",
        "6 results of a",
    }
    assert found["features scenes/train/scenes-text"]["why"] == "24 rows; the split has grown to 30"
    assert "scenes/train/scenes-vit has changed or grown to 30 rows" in found["aligner a"]["why"]
    assert found["6 results of a"]["why"] == "the samples of scenes have changed or grown"
    assert found["6 results of a"]["command"] == f"structure eval --suite {suite} --aligner a"

    extract([TEXT], "scenes:30", store=store, layers=["block.*"], append=True)
    (command,) = [row["command"] for row in status(store)["stale"] if row["what"].startswith("ranking")]
    assert run([*command.split()[1:], "--store", store.url, "--k", "3", "--calibrate", "3"]) == 0
    align("auto", store=store, method="ridge", name="a", replace=True)
    suite.write_text(SUITE.replace("scenes:24", "scenes:30"))
    assert run([*found["6 results of a"]["command"].split()[1:], "--store", store.url]) == 0
    (left,) = status(store)["stale"]  # the evaluation has extracted all captions anew, beside these
    assert left["what"] == "features scenes/train/scenes-text.captions-all"
