"""The forecast at the end of a ranking: in its document, in what is printed, in the dry run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from structure.cli.main import run
from structure.pipeline import rank_layers
from structure.pipeline.forecast.forecast import PAIRS
from structure.pipeline.forecast.learning_curve import LEAST_PAIRS, training_sizes
from structure.store import Store


def test_a_ranking_ends_with_a_forecast(copied: Store, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--k", "5", "--repeats", "0", "--calibrate", "2", "--store", copied.url]
    assert run(["rank-layers", *where, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [point["pairs"] for point in told["forecast"]["points"]] == list(PAIRS)
    layers = {side: told["best"][f"{side}_layer"] for side in ("vision", "text")}
    assert told["forecast"]["layers"] == layers
    (kept,) = Path(copied.url, "rankings").rglob("ranking.json")
    assert json.loads(kept.read_text())["forecast"] == told["forecast"]
    assert run(["rank-layers", *where]) == 0
    assert "Forecast, held-out R@10" in "".join(capsys.readouterr())
    assert run(["rank-layers", *where, "--no-forecast", "--json"]) == 0
    assert "forecast" not in json.loads(capsys.readouterr().out)
    assert run(["rank-layers", *where, "--dry-run", "--json"]) == 0
    *_, fits = json.loads(capsys.readouterr().out)["parts"]
    assert fits["what"] == "forecast (fits)"
    assert fits["pending"] == len(training_sizes(fits["rows"]))
    assert fits["seconds"] > 0


def test_too_few_pairs_have_no_forecast(imported: str) -> None:
    told = rank_layers(store=imported, k=5, calibrate=2, repeats=0).ranking["forecast"]
    assert told["sentences"] == [f"No forecast: {told['none']}."]
    assert str(LEAST_PAIRS) in told["none"]
