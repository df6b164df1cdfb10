"""Many runs: which are made, that a comparison is fair, and what is told of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from structure.cli.main import run
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.progress import Event, Progress
from structure.pipeline.sweep import contrasts_of, sweep, variants_of
from structure.store import Store, StructureError

QUICK = TrainingOptions(dim=8, epochs=3, device="cpu")
LAYERS = "block.03,block.02"


def test_variants_are_every_combination_and_contrasts_differ_in_one_thing() -> None:
    variants = variants_of({"method": ["linear", "mlp"]}, ("weight", [1, 10]), [50, 20])
    assert len(variants) == 8
    assert variants[0].name == "method=linear weight=1 pairs=20"
    pairs = contrasts_of(variants, ["weight"])
    assert len(pairs) == 4
    for first, second in pairs:
        assert (first.values["weight"], second.values["weight"]) == (1, 10)
        assert first.without("weight") == second.without("weight")


def test_a_curve_alone_is_held_against_the_last_layers_without_r_s() -> None:
    variants = variants_of({}, None, [20, 50])
    assert [one.name for one in variants] == [
        "pairs=20",
        "pairs=50",
        "pairs=20 layers=last regulariser=none",
        "pairs=50 layers=last regulariser=none",
    ]
    assert len(contrasts_of(variants, ("layers", "regulariser"))) == 2


@pytest.mark.parametrize(("grid", "compare", "curve", "said"), [
    ({"wieght": [1]}, None, (), "Did you mean weight"),
    ({"seed": [1, 2]}, None, (), "pass --seeds"),
    ({"pairs": [10]}, None, (10, 20), "cannot be an axis"),
    ({}, ("regulariser", ["none"]), (), "one value is no comparison"),
])  # fmt: skip
def test_grids_that_make_no_sense(grid, compare, curve, said) -> None:
    with pytest.raises(StructureError, match=said):
        variants_of(grid, compare, curve)


def test_a_comparison_shares_rate_seeds_and_pairs(copied: Store) -> None:
    events: list[Event] = []
    done = sweep(
        LAYERS,
        store=copied,
        options=QUICK,
        compare=("regulariser", ["structure", "none"]),
        seeds=[1, 2],
        test=0.2,
        name="control",
        on_event=events.append,
    )
    rates = {rate for by in done.rates.values() for rate in by}
    assert len(rates) == 1
    assert None not in rates
    assert {row.variant for row in done.means} == {"regulariser=structure", "regulariser=none"}
    told = {(row.dataset, row.metric): row for row in done.differences}
    assert ("validation", "contrastive") in told
    assert ("validation", "image_retrieval_recall@1") in told
    assert ("test", "text_retrieval_recall@10") in told
    mean = {(row.variant, row.dataset, row.metric): row.value for row in done.means}
    for (dataset, metric), row in told.items():
        gap = mean["regulariser=structure", dataset, metric] - mean["regulariser=none", dataset, metric]
        assert row.value == pytest.approx(gap)
        assert row.seeds == 2
        assert row.low <= row.value <= row.high
    assert [e.done for e in events if isinstance(e, Progress) and e.what == "runs"] == [1, 2, 3, 4]
    kept = json.loads(copied.folder("sweeps", "control").read("sweep.json"))
    assert kept == json.loads(json.dumps(done.to_json()))
    again: list[Event] = []
    repeated = sweep(
        LAYERS,
        store=copied,
        options=QUICK,
        compare=("regulariser", ["structure", "none"]),
        seeds=[1, 2],
        test=0.2,
        name="control",
        on_event=again.append,
    )
    assert not any(isinstance(e, Progress) and e.what.startswith("training") and e.done > 0 for e in again[5:])
    assert {(row.dataset, row.metric): row for row in repeated.differences} == told


def test_a_variant_that_cannot_be_trained_is_told_and_the_others_go_on(copied: Store) -> None:
    done = sweep(
        LAYERS, store=copied, options=QUICK, grid={"method": ["ridge", "mean-shift", "asif"]}, seeds=[1], pairs=100
    )
    assert set(done.aligners) >= {"method=ridge", "method=asif"}
    with pytest.raises(StructureError, match=r"No variant could be trained. .*--pairs 9,999"):
        sweep(LAYERS, store=copied, options=QUICK, grid={"pairs": [9999]}, seeds=[1])


def test_curve_and_suite_on_the_command_line(copied: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = tmp_path / "small.yaml"
    suite.write_text(
        "name: small\nversion: 1\ndefaults: {dataset: 'scenes:60', split: test, metric: acc1, prompts: plain}\n"
        "tasks:\n  - {label: colour, kind: zeroshot_classification}\n"
    )
    command = ["align", "--layers", LAYERS, "--store", copied.url, "--set", "dim=8", "--epochs", "3", "--lr", "0.003"]
    assert run([*command, "--curve", "40,120", "--seeds", "2", "--suite", str(suite), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["seeds"] == [1, 2]
    assert {row["dataset"] for row in document["means"]} == {"validation", "test", "scenes/colour"}
    efficiency = [row for row in document["efficiency"] if row["metric"] == "acc1"]
    assert [row["pairs"] for row in efficiency] == [40, 120, None]
    assert efficiency[2]["U"] == pytest.approx((efficiency[0]["U"] + efficiency[1]["U"]) / 2)
    assert run([*command, "--grid", "method=linear,ridge", "--seeds", "1"]) == 0
    told = capsys.readouterr()
    assert "method=ridge" in told.out
    assert "One seed says nothing about the spread: pass --seeds 5" in told.err


@pytest.mark.parametrize(("arguments", "code", "said"), [
    (["--set", "centre_first"], 2, "write OPTION=VALUE"),
    (["--set", "centre_frist=true"], 1, "Did you mean centre_first"),
    (["--set", "margin=much"], 1, "margin takes float"),
    (["--set", "weight=3", "--weight", "2"], 2, "given twice"),
    (["--similarity", "cosin"], 1, "cosine"),
    (["--grid", "weight"], 2, "write OPTION=A,B"),
    (["--grid", "weight=1", "--compare", "weight=1,2"], 2, "in --grid and in --compare"),
    (["--curve", "10,x"], 2, "whole numbers"),
    (["--seeds", "1,2", "--seed", "3"], 2, "leave out --seed"),
    (["--add", "scenes"], 1, "write DATASET:K"),
    (["--unpaired", "flickr"], 1, "no features of"),
    (["--batch", "100000", "--pairs", "6"], 1, "6 pairs are too few"),
    (["--method", "csa", "--pairs", "30", "--dim", "64"], 1, "Pass --dim"),
    (["--method", "ridge", "--weight", "50"], 1, "The method ridge has no option 'weight'"),
    (["--method", "ridge", "--lr", "0.1"], 1, "no option 'learning_rate' (--lr)"),
    (["--method", "ridge", "--compare", "regulariser=structure,none"], 1, "ridge has no option 'regulariser'"),
])  # fmt: skip
def test_mistakes_on_the_command_line(
    scenes_store: Store, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    assert run(["align", "--layers", LAYERS, "--store", scenes_store.url, *arguments]) == code
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_tensorboard_files(copied: Store, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    command = ["align", "--layers", LAYERS, "--store", copied.url, "--set", "dim=8", "--epochs", "3", "--lr", "0.003"]
    assert run([*command, "--tensorboard", str(tmp_path / "board"), "--quiet"]) == 0
    (events,) = (tmp_path / "board").glob("run001/events*")
    assert b"validation/contrastive" in events.read_bytes()


@pytest.mark.parametrize(("grid", "seeds", "said"), [
    ({"regulariser": ["structure", "nonne"]}, [1, 2], "Did you mean none"),
    ({"method": ["linear", "lineer"]}, [1, 2], "Did you mean linear"),
    ({"weight": [1]}, [1, 2, 1], "Seed 1 stands twice"),
])  # fmt: skip
def test_a_mistake_is_told_before_anything_is_trained(copied: Store, grid, seeds, said) -> None:
    events: list[Event] = []
    with pytest.raises(StructureError, match=said):
        sweep(LAYERS, store=copied, options=QUICK, grid=grid, seeds=seeds, on_event=events.append)
    assert not events
