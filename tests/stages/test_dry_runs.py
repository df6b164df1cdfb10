"""The plan before the work: what is there, what is pending; what is long or does not fit is refused before it
begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import structure.pipeline.stages.align as training
import structure.pipeline.stages.rank_layers as ranking
from structure.cli.consent import asking
from structure.cli.main import run
from structure.pipeline import align, evaluate, extract, rank_layers
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.alignment import estimate
from structure.pipeline.extraction import estimate as forecast
from structure.pipeline.extraction.estimate import ExtractionEstimate
from structure.pipeline.run_context import RunContext
from structure.pipeline.stage_requests.align import AlignRequest
from structure.store import Store, StructureError
from structure.store.errors import UsageError
from structure.store.local_files import LocalFiles

SUITE = """name: small
version: 1
tasks: [{dataset: 'scenes:40', split: test, kind: zeroshot_classification, label: colour, metric: acc1, prompts: plain}]
"""


def parts(capsys: pytest.CaptureFixture[str], *command: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run([*command, "--dry-run", "--json", "--quiet"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["parts"]
    return found


def files_of(store: Store) -> set[Path]:
    return {path for path in Path(store.url).rglob("*") if path.is_file()}


def test_what_is_ahead_is_told_and_gone_once_it_is_done(
    copied: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where, before = ["--store", copied.url], files_of(copied)
    *sides, test, fits = parts(capsys, "rank-layers", "--k", "5", *where)
    assert fits["what"] == "forecast (fits)"
    assert test["what"].startswith("permutation test of")
    assert (test["rows"], test["pending"]) == (240, 200)
    assert files_of(copied) == before
    layers = [len(copied[key].layers) for key in copied]  # each among all rows, and among 5 subsets of 100
    assert sorted(side["pending"] for side in sides) == sorted([*layers, *(5 * count for count in layers)])
    assert all(side["disk"] == side["pending"] * side["rows"] * 5 * 4 and side["seconds"] > 0 for side in sides)
    assert test["seconds"] > 0
    rank_layers(store=copied, k=5, calibrate=5)
    *again, test, _ = parts(capsys, "rank-layers", "--k", "5", *where)
    assert [(side["pending"], side["seconds"]) for side in again] == [(0, 0.0)] * 4
    assert test["pending"] == 200

    before = files_of(copied)
    (training,) = parts(capsys, "align", "--method", "linear", "--dim", "8", "--epochs", "4", "--seeds", "3", *where)
    assert files_of(copied) == before
    assert (training["rows"], training["pending"]) == (240, 3)
    assert training["seconds"] > 0
    align("auto", store=copied, options=TrainingOptions(dim=8, epochs=1, learning_rate=1e-3), name="a")

    suite = tmp_path / "small.yaml"
    suite.write_text(SUITE)
    reading = parts(capsys, "eval", "--suite", str(suite), *where)
    assert [part["rows"] for part in reading if part["what"].startswith("scenes/test/")] == [40]
    assert all(part["pending"] == part["rows"] and part["disk"] > 0 and part["seconds"] > 0 for part in reading)
    evaluate(str(suite), store=copied)
    assert parts(capsys, "eval", "--suite", str(suite), *where) == []


def test_a_disk_that_is_too_small_is_told_by_the_plan(
    copied: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(LocalFiles, "free", lambda self: 1000)
    for command in (["rank-layers", "--k", "5"], ["align", "--layers", "last", "--dim", "8"]):
        assert run([*command, "--dry-run", "--store", copied.url, "--quiet"]) == 1
        assert "1,000 free" in capsys.readouterr().err
    assert run(["extract", "--model", "bundled:scenes-vit", "--dataset", "scenes:50", "--dry-run"]) == 1
    assert "1,000" in capsys.readouterr().err


def test_long_work_is_asked_before_it_begins(copied: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    confirm = asking(yes=False)
    assert confirm is not None
    assert asking(yes=True) is None
    confirm(ExtractionEstimate("coco/train/small", 10, 10**9, 60.0))
    with pytest.raises(UsageError, match=r"10 rows and 1,000 bytes are ahead, about 3 h 0 min.*pass --yes"):
        confirm(ExtractionEstimate("coco/train/long", 10, 1000, 3 * 3600.0))
    with pytest.raises(UsageError, match=r"200,000,000,000 bytes are ahead\. .*pass --yes"):
        confirm(ExtractionEstimate("coco/train/large", 10, 2 * 10**11, 0.0))
    monkeypatch.setattr(forecast, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(forecast, "SHORT", 0)
    with pytest.raises(UsageError, match="scenes/test/scenes-text: 40 rows"):
        extract("bundled:scenes-text", "scenes:40", split="test", store=copied, confirm=confirm)
    assert "scenes/test/scenes-text" not in copied


def test_a_plan_of_many_models_tells_each_table_once(copied: Store, capsys: pytest.CaptureFixture[str]) -> None:
    extract("bundled:scenes-text", "scenes:240", captions=2, store=copied)
    extract(["bundled:scenes-vit?image_size=32"], "scenes:240", store=copied)
    told = parts(capsys, "rank-layers", "--all", "--k", "5", "--store", copied.url)
    tables = [part["what"] for part in told if "tables" in part["what"]]
    assert len(tables) == len(set(tables)) == 6  # of all rows and of subsets; two vision models share the text's
    assert len(told) == len({part["what"] for part in told}) == 8
    assert all(part["pending"] > 0 for part in told)


@pytest.mark.parametrize(
    "command",
    [
        ["rank-layers", "--k", "5", "--repeats", "0", "--calibrate", "5"],
        ["align", "--grid", "layers=block.00+block.00", "--grid", "epochs=1,2", "--dim", "4", "--lr", "1e-3"],
    ],
)
def test_long_rankings_and_trainings_are_asked_about(
    copied: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    monkeypatch.setattr(forecast, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(training, "SHORT_TRAINING", 0)
    monkeypatch.setattr(ranking, "QUICK", 0.0)
    before, where = files_of(copied), ["--store", copied.url, "--quiet"]
    assert run([*command, *where]) == 2
    assert "pass --yes if it is meant" in capsys.readouterr().err
    assert files_of(copied) == before
    assert run([*command, "--yes", *where]) == 0
    assert files_of(copied) > before


def test_nobody_is_asked_about_an_aligner_that_is_there(
    copied: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(forecast, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(training, "SHORT_TRAINING", 0)
    command = ["align", "--layers", "last", "--method", "procrustes", "--store", copied.url, "--quiet"]
    assert run([*command, "--yes"]) == 0
    assert run(command) == 0
    assert run([*command, "--test", "0.2"]) == 2
    assert "pass --yes if it is meant" in capsys.readouterr().err


def test_a_short_training_is_not_probed(copied: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def probed(*_: object, **__: object) -> float:
        raise AssertionError

    monkeypatch.setattr(estimate, "seconds_at_most", probed)
    (part,) = training.plan(AlignRequest("last"), RunContext.of(copied), probe_from=training.SHORT_TRAINING)
    assert part.seconds is None


def test_an_answer_of_no_stops_an_evaluation(copied: Store, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SUITE)
    align("last", store=copied, options=TrainingOptions(dim=8, epochs=1, learning_rate=1e-3), name="a")

    def no(ahead: ExtractionEstimate) -> None:
        raise StructureError(f"no to {ahead.features}")

    with pytest.raises(StructureError, match="no to scenes/test"):
        evaluate(str(tmp_path / "small.yaml"), store=copied, confirm=no)


def test_a_dry_run_of_an_extraction_makes_no_store(tmp_path: Path) -> None:
    store = tmp_path / "new"
    command = ["extract", "--model", "bundled:scenes-text", "--dataset", "scenes:40", "--store", str(store)]
    assert run([*command, "--dry-run", "--quiet"]) == 0
    assert not store.exists()
    assert run([*command, "--quiet"]) == 0
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    assert run([*command, "--split", "test", "--dry-run", "--quiet"]) == 0
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before
