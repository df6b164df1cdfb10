"""Many runs: which are made, that a comparison is fair, and what is told of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from structure.cli.main import run
from structure.pipeline.aligners.aligner import load_aligner
from structure.pipeline.pairing.layer_choice import last_block
from structure.pipeline.progress import Event, Note, Progress, silent
from structure.pipeline.recipe.grid import contrasts_along
from structure.pipeline.recipe.recipe import StoredPairs
from structure.pipeline.recipe.running import RecipeRun
from structure.pipeline.recipe.running import run as run_recipe
from structure.pipeline.recipe.sweep import Axes, sweep_recipe
from structure.pipeline.run_context import RunContext
from structure.pipeline.stages.rank_layers import rank_layers
from structure.store import Store
from structure.store.errors import StructureError, UsageError

QUICK = {"dim": 8, "epochs": 3}
LAYERS = "block.03,block.02"


def sweep(axes: Axes, store: Store, *, events: list[Event] | None = None, name: str = "sweep", **how: Any) -> RecipeRun:
    """A sweep of quick runs on the CPU."""
    recipe = sweep_recipe(name, axes, **{"training": QUICK, **how})
    listener = silent if events is None else events.append
    return run_recipe(recipe, RunContext(store, device="cpu", on_event=listener))


def test_variants_are_every_combination_and_contrasts_differ_in_one_thing() -> None:
    cells = Axes(grid={"method": ["linear", "mlp"]}, compare=("weight", [1, 10]), curve=[50, 20]).cells()
    assert len(cells) == 8
    assert cells[0].variant == "method=linear weight=1 pairs=20"
    contrasts = contrasts_along(cells, ["weight"])
    assert len(contrasts) == 4
    for contrast in contrasts:
        assert (contrast.first.values["weight"], contrast.second.values["weight"]) == (1, 10)
        assert contrast.first.without(["weight"]) == contrast.second.without(["weight"])


@pytest.mark.parametrize(("method", "baseline"), [("linear", "layers=last regulariser=none"), ("ridge", "layers=last")])
def test_a_curve_alone_is_compared_with_the_last_layers_without_r_s(method: str, baseline: str) -> None:
    recipe = sweep_recipe("sweep", Axes(curve=[20, 50]), training={"method": method})
    variants = [one.variant for one in recipe.cells]
    assert variants == ["pairs=20", "pairs=50", f"pairs=20 {baseline}", f"pairs=50 {baseline}"]
    assert len(recipe.contrasts) == 2


@pytest.mark.parametrize("training", [{"method": "ridge"}, {"regulariser": "none"}])
def test_a_curve_is_not_compared_with_itself(training: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="these runs are just that.*--layers auto.*--compare method=linear,csa"):
        sweep_recipe("sweep", Axes("last", curve=[20, 50]), training=training)
    sweep_recipe("sweep", Axes("last", curve=[20, 50], compare=("method", ["linear", "csa"])))


@pytest.mark.parametrize(("axes", "training", "said"), [
    (Axes(grid={"method": ["linear", "ridge"], "weight": [1, 50]}), {}, "nothing for ridge, beside linear in the grid"),
    (Axes(grid={"method": ["linear", "ridge"]}), {"weight": 50}, "vary method=linear without ridge"),
    (Axes(compare=("method", ["csa", "ridge"])), {"learning_rate": 0.1}, r"no option 'learning_rate' \(--lr\)"),
    (Axes(grid={"regulariser": ["structure", "none"], "weight": [1, 50]}), {}, "where regulariser is none, as in some"),
    (Axes(grid={"weight": [1, 50]}), {"regulariser": "none"}, "weight changes nothing with regulariser=none"),
    (Axes(grid={"weight": [1, 50]}), {"weight": 2}, "weight is given for every run and varied as well"),
    (Axes(grid={"gamma": [1, 2]}), {}, "gamma changes nothing with similarity=cosine"),
    (Axes(grid={"extra_rows": [1, 2]}), {}, "extra_rows is of unpaired rows"),
])  # fmt: skip
def test_options_without_effect_are_refused_in_a_grid(axes: Axes, training: dict[str, Any], said: str) -> None:
    with pytest.raises(StructureError, match=said):
        sweep_recipe("sweep", axes, training=training)


def test_options_that_count_in_some_runs_of_a_comparison_are_taken() -> None:
    axes = Axes(compare=("regulariser", ["structure", "none"]))
    recipe = sweep_recipe("sweep", axes, training={"weight": 2.0}, stored=StoredPairs(unpaired=("coco/train",)))
    assert recipe.training == {"weight": 2.0}
    for method in ("ridge", "csa,ridge"):
        grid = {"method": method.split(",")}
        with pytest.raises(StructureError, match="--unpaired changes nothing for ridge"):
            sweep_recipe("sweep", Axes(grid=grid), stored=StoredPairs(unpaired=("coco/train",)))


def test_a_preset_is_that_of_each_method_of_a_grid() -> None:
    recipe = sweep_recipe("sweep", Axes(grid={"method": ["linear", "csa"]}), preset="paper")
    assert (recipe.preset, recipe.training) == ("paper", {})
    with pytest.raises(StructureError, match="The preset paper sets no option of the method ridge"):
        sweep_recipe("sweep", Axes(grid={"method": ["linear", "ridge"]}), preset="paper")


@pytest.mark.parametrize(("grid", "compare", "curve", "said"), [
    ({"wieght": [1]}, None, (), "Did you mean weight"),
    ({"seed": [1, 2]}, None, (), "pass --seeds"),
    ({"pairs": [10]}, None, (10, 20), "cannot be an axis"),
    ({}, ("regulariser", ["none"]), (), "one value is no comparison"),
])  # fmt: skip
def test_grids_that_make_no_sense(grid, compare, curve, said) -> None:
    with pytest.raises(StructureError, match=said):
        Axes(grid=grid, compare=compare, curve=curve)


def test_a_comparison_shares_rate_seeds_and_pairs(copied: Store) -> None:
    events: list[Event] = []
    axes = Axes(LAYERS, compare=("regulariser", ["structure", "none"]))
    how: dict[str, Any] = {"stored": StoredPairs(test=0.2), "seeds": [1, 2], "name": "control"}
    done = sweep(axes, copied, events=events, **how)
    summary = done.summary
    rates = {rate for by in summary.learning_rates.values() for rate in by}
    assert len(rates) == 1
    assert None not in rates
    assert {row.variant for row in summary.means} == {"regulariser=structure", "regulariser=none"}
    differences = {(row.dataset, row.metric): row for row in summary.differences}
    assert ("validation", "contrastive") in differences
    assert ("validation", "image_retrieval_recall@1") in differences
    assert ("test", "text_retrieval_recall@10") in differences
    mean = {(row.variant, row.dataset, row.metric): row.value for row in summary.means}
    for (dataset, metric), row in differences.items():
        gap = mean["regulariser=structure", dataset, metric] - mean["regulariser=none", dataset, metric]
        assert row.value == pytest.approx(gap)
        assert row.seeds == 2
        assert row.low <= row.value <= row.high
    assert [e.done for e in events if isinstance(e, Progress) and e.what == "runs"] == [1, 2, 3, 4]
    saved = json.loads(copied.folder("reports", "control").read("summary.json"))
    document = json.loads(json.dumps(done.to_json()))
    for part in ("means", "differences", "aligners", "learning_rates", "seeds"):
        assert saved[part] == document[part]
    again: list[Event] = []
    repeated = sweep(axes, copied, events=again, **how)
    assert {outcome for _, outcome, _ in repeated.steps} == {"cached"}
    assert not any(isinstance(e, Progress) and e.what.startswith("training") for e in again)
    assert repeated.summary == summary
    more = sweep(axes, copied, **{**how, "seeds": [1, 2, 3]})
    ran = {key for key, outcome, _ in more.steps if outcome == "ran" and key.startswith("align/")}
    assert ran == {f"align/control-regulariser={value}-seed3" for value in ("structure", "none")}


def test_a_sweep_trains_again_where_the_features_or_the_layers_have_changed(copied: Store) -> None:
    axes, how = Axes("auto", grid={"weight": [1.0]}), {"seeds": [1]}
    rank_layers(store=copied, k=4, calibrate=0)
    sweep(axes, copied, **how)
    (name,) = copied.folder("rankings").holding("ranking.json")
    ranking = copied.folder("rankings", name)
    document = json.loads(ranking.read("ranking.json"))
    document["best"] = {**document["best"], "vision_layer": "block.00", "text_layer": "block.00"}
    del document["seal"]  # as of a ranking that says this
    ranking.write("ranking.json", json.dumps(document).encode())
    outcomes = {key: (outcome, why) for key, outcome, why in sweep(axes, copied, **how).steps}
    assert outcomes["align/sweep-weight=1.0-seed1"] == ("ran", "its layers changed")


def test_identical_arms_are_trained_once_and_said_to_be_identical(copied: Store) -> None:
    events: list[Event] = []
    vision, text = sorted(copied.feature_sets(), key=lambda features: features.manifest.modality != "vision")
    last = f"{last_block(vision)},{last_block(text)}"
    axes = Axes(compare=("layers", ["last", last]))
    done = sweep(axes, copied, events=events, seeds=[1, 2])
    trainings = [e for e in events if isinstance(e, Progress) and e.what.startswith("training") and e.done == 1]
    assert len(trainings) == 2
    notes = [event.text for event in events if isinstance(event, Note)]
    assert sum("is identical to sweep-layers=last-seed" in text and "trained once" in text for text in notes) == 2
    assert done.summary.identical == {f"layers={last}": "layers=last"}
    assert all(row.value == row.low == row.high == 0 for row in done.summary.differences)
    copy = load_aligner(copied.folder("aligners", f"sweep-layers={last.replace(',', '+')}-seed2"))
    given = {**QUICK, "learning_rate": done.summary.learning_rates["layers=last"][0]}
    alone = sweep(Axes("last"), copied, name="alone", seeds=[2], training=given)
    trained = load_aligner(copied.folder("aligners", alone.summary.aligners["chosen"][0]))
    for name, tensor in trained.vision.state_dict().items():
        assert torch.equal(copy.vision.state_dict()[name], tensor)


def test_arms_that_come_out_alike_are_said_to_be_one_model(copied: Store, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["align", "--layers", LAYERS, "--compare", "regulariser=structure,none", "--weight", "0", "--lr", "0.001"]
    command += ["--epochs", "1", "--seeds", "2", "--store", copied.url]
    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same_weights"] == {"regulariser=none": "regulariser=structure"}
    assert run(command) == 0
    assert "regulariser=none came out as regulariser=structure, number for number" in capsys.readouterr().err
    last = ["align", "--compare", f"layers=last,{LAYERS.replace(',', '+')}", "--epochs", "1", "--seeds", "2"]
    assert run([*last, "--store", copied.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same_weights"] == {}


def test_a_variant_that_cannot_be_trained_is_told_and_the_others_go_on(copied: Store) -> None:
    grid = {"pairs": [100, 9999], "method": ["ridge", "asif"]}
    done = sweep(Axes(LAYERS, grid=grid), copied, seeds=[1], training={})
    assert set(done.summary.aligners) == {"pairs=100 method=ridge", "pairs=100 method=asif"}
    assert [entry["variant"] for entry in done.failed] == ["pairs=9999 method=ridge", "pairs=9999 method=asif"]
    assert all("--pairs 9,999" in entry["why"] for entry in done.failed)
    with pytest.raises(StructureError, match=r"No variant could be trained. .*--pairs 9,999"):
        sweep(Axes(LAYERS, grid={"pairs": [9999]}), copied, seeds=[1])


def test_the_next_variant_finds_the_rate_where_the_first_fails(copied: Store) -> None:
    done = sweep(Axes(LAYERS, compare=("pairs", [9999, 100, 120])), copied, seeds=[1, 2])
    assert [entry["variant"] for entry in done.failed] == ["pairs=9999"]
    rates = [rate for by in done.summary.learning_rates.values() for rate in by]
    assert len(rates) == 4
    assert len(set(rates)) == 1
    assert None not in rates


def test_a_sweep_on_the_command_line_tells_of_runs_not_of_a_recipe(
    copied: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["align", "--store", copied.url, "--layers", LAYERS, "--method", "ridge", "--curve"]
    assert run([*command, "100,9999"]) == 1  # there are not so many pairs
    told = capsys.readouterr()
    assert "Not trained: pairs=9999" in told.err
    assert run([*command, "100,150", "--test", "0.3"]) == 0  # something changed: all is done again
    again = capsys.readouterr()
    assert run([*command, "100,150"]) == 0
    done = capsys.readouterr()
    assert "training sweep-pairs=100-seed42 again: test changed" in again.err
    for text in (told.err, again.err, done.err):
        assert "recipe" not in text
        assert "report" not in text
        assert "steps" not in text
    assert run(["status", "--store", copied.url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recipes"] == []
    assert found["sweeps"] == [{"sweep": "sweep", "runs done": 4, "running": "no"}]


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
    command = ["align", "--layers", LAYERS, "--store", copied.url]
    assert run([*command, "--grid", "method=procrustes,ridge", "--seeds", "1"]) == 0
    told = capsys.readouterr()
    assert "method=ridge" in told.out
    assert "One seed says nothing about the spread: pass --seeds 5" in told.err


@pytest.mark.parametrize(("arguments", "code", "said"), [
    (["--set", "centre_first"], 2, "write OPTION=VALUE"),
    (["--set", "centre_frist=true"], 1, "Did you mean centre_first"),
    (["--set", "margin=much"], 1, "margin takes a number"),
    (["--set", "weight=3", "--weight", "2"], 2, "given twice"),
    (["--similarity", "cosin"], 1, "cosine"),
    (["--grid", "weight"], 2, "write OPTION=A,B"),
    (["--grid", "weight=1", "--compare", "weight=1,2"], 2, "in --grid and in --compare"),
    (["--curve", "10,x"], 2, "whole numbers"),
    (["--seeds", "1,2", "--seed", "3"], 2, "leave out --seed"),
    (["--add", "scenes"], 1, "write DATASET:K"),
    (["--method", "linear", "--unpaired", "flickr"], 1, "no features of"),
    (["--batch", "100000", "--pairs", "6"], 1, "6 pairs are too few"),
    (["--method", "csa", "--pairs", "30", "--dim", "64"], 1, "Pass --dim"),
    (["--weight", "-3"], 1, "weight is -3.0; it must be at least 0"),
    (["--lr", "nan"], 1, "learning rate is nan; it must be above 0"),
    (["--regulariser", "none", "--weight", "50"], 1, "or choose regulariser=structure"),
    (["--preset", "paper", "--method", "ridge"], 1, "The preset paper sets no option of the method ridge"),
    (["--method", "csa", "--grid", "method=linear,ridge"], 2, "method is given for every run and varied as well"),
    (["--pairs", "60", "--curve", "20,40"], 2, "--pairs is given for every run and varied as well"),
    (["--set", "lr=0.1"], 1, "Did you mean learning_rate?"),
    (["--method", "ridge", "--set", "nosuch=1"], 1, "Known: method, validation, refit, seed, device, ridge."),
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
    assert run([*command, "--method", "linear", "--tensorboard", str(tmp_path / "board"), "--quiet"]) == 0
    (events,) = (tmp_path / "board").glob("run001/events*")
    assert b"validation/contrastive" in events.read_bytes()


@pytest.mark.parametrize(("grid", "seeds", "said"), [
    ({"regulariser": ["structure", "nonne"]}, [1, 2], "Did you mean none"),
    ({"method": ["linear", "lineer"]}, [1, 2], "Did you mean linear"),
    ({"weight": [1]}, [1, 2, 1], "Seed 1 is given twice"),
])  # fmt: skip
def test_a_mistake_is_told_before_anything_is_trained(copied: Store, grid, seeds, said) -> None:
    events: list[Event] = []
    with pytest.raises(StructureError, match=said):
        sweep(Axes(LAYERS, grid=grid), copied, seeds=seeds, events=events)
    assert not events
