"""`align` without a method: selected on the training pairs of the store, kept with its table, the same again."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from structure.cli.main import run
from structure.pipeline import align, load_aligner, rank_layers
from structure.pipeline.aligners.methods.kernel_csa import KernelCsa
from structure.pipeline.model_selection import confirmation
from structure.pipeline.model_selection import select as selecting
from structure.pipeline.model_selection.options import SelectionOptions
from structure.pipeline.model_selection.stored import StoredSelection, layer_candidates, sample_groups, select_stored
from structure.pipeline.pairing.pairs import choose_sets, pair_rows
from structure.pipeline.progress import Event, Note
from structure.store import Rows, Store
from structure.store.errors import StructureError

LAYERS = "block.03,block.02"
COMMON = {"seed": 1, "device": "cpu"}
CHEAP = ("--candidates", "ridge,procrustes", "--layers", LAYERS)


def sets(store: Store) -> tuple:  # type: ignore[type-arg]
    return choose_sets(store, dataset=None, split=None, vision=None, text=None)


def test_the_command_selects_keeps_the_table_and_says_why(copied: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["align", *CHEAP, "--name", "a", "--test", "0.25", "--store", copied.url, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document["selection"][0]) >= {"method", "options", "layers", "score", "se", "seconds", "chosen"}
    (chosen,) = (row for row in document["selection"] if row["chosen"])
    assert document["method"] == chosen["method"]
    assert document["selected"]["criterion"] == "mrr"
    assert document["selected"]["estimate"]["how"].startswith("nested")
    assert "was chosen of 3 candidates" in document["selected"]["why"]
    assert document["refit_pairs"] == 180  # all training pairs, none of the test
    folder = copied.folder("aligners", "a")
    assert json.loads(folder.read("selection.json"))["candidates"] == document["selection"]
    table = pq.read_table(pa.BufferReader(folder.read("selection.parquet")))
    assert table["chosen"].to_pylist() == [row["chosen"] for row in document["selection"]]
    assert load_aligner(folder).metadata["layers_chosen_by"] == "cross-validation"


def test_without_a_method_python_selects_too_and_the_same_request_is_not_run_twice(copied: Store) -> None:
    notes: list[Event] = []
    asked = {"store": copied, "candidates": ("ridge",), "name": "again", "on_event": notes.append}
    first = align(LAYERS, **asked)
    assert any(isinstance(note, Note) and "(cross-validation), " in note.text for note in notes)
    again = align(LAYERS, **asked)
    assert again.selection == first.selection
    assert any(isinstance(note, Note) and "made by the same run" in note.text for note in notes)
    with pytest.raises(StructureError, match="Pass --replace"):
        align(LAYERS, **asked, select="R@5")
    assert align(LAYERS, **asked, select="R@5", replace=True).selection["criterion"] == "R@5"


def test_layer_candidates_are_the_ranking_s_first_the_last_blocks_and_two_a_side(copied: Store) -> None:
    both = sets(copied)
    ranking = rank_layers(store=copied, k=5, calibrate=5, repeats=0).ranking
    made = layer_candidates(copied, both, "auto", 3)
    assert made[0] == (ranking["best"]["vision_layer"], ranking["best"]["text_layer"])
    scores = {
        (one, other): ranking["scores"][row][column]
        for row, one in enumerate(ranking["vision"]["layers"])
        for column, other in enumerate(ranking["text"]["layers"])
    }
    assert min(scores[pair] for pair in made[1:3]) >= max(v for pair, v in scores.items() if pair not in made[:3])
    assert ("block.05", "block.03") in made
    assert len(made) == len(set(made)) <= 5
    for side, (layer, name) in enumerate(zip(made[-1], ("vision", "text"), strict=True)):
        first, second = layer.split("+")
        layers = ranking[name]["layers"]
        highest = np.array(ranking["scores"]).max(axis=1 - side)
        away = [at for at in range(len(layers)) if abs(at - layers.index(first)) > 1]
        assert first == made[0][side]
        assert layers.index(second) == max(away, key=lambda at: highest[at])
    assert layer_candidates(copied, both, "auto", 3, joined=False) == made[:-1]
    assert layer_candidates(copied, both, "last", 3) == [("block.05", "block.03")]
    assert layer_candidates(copied, both, LAYERS, 3) == [("block.03", "block.02")]


def test_samples_of_one_image_text_or_group_are_one_group(copied: Store) -> None:
    both = sets(copied)
    rows = pair_rows(copied, *both)
    groups = sample_groups(copied, both, rows, column=None)
    samples = copied.samples("scenes", "train")
    texts = np.array(samples.table.take(samples.first_rows[rows.items])["text"].to_pylist())
    for text in {text for text in texts.tolist() if (texts == text).sum() > 1}:
        assert len(set(groups[texts == text].tolist())) == 1
    column = next(name for name in samples.table.column_names if name.startswith("label"))
    coarse = sample_groups(copied, both, rows, column=column)
    assert coarse.max() < groups.max()
    with pytest.raises(StructureError, match="column of --group"):
        sample_groups(copied, both, rows, column="patient")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--method", "ridge", "--folds", "4"], 2, "--folds is of --method auto"),
        (["--method", "auto", "--preset", "paper"], 2, "leave --preset out, or name a --method"),
        (["--method", "auto", "--seeds", "3", "--unpaired", "flickr"], 2, "or name methods that use unpaired rows"),
        (["--seeds", "3", "--folds", "2"], 2, "--folds is of --method auto"),
        (["--method", "linear", "--weight", "auto", "--preset", "paper", "--seeds", "3"], 1, "leave out weight=auto"),
        (["--pairs", "0"], 1, "--pairs 0 must be 1 or more"),
        (["--method", "auto", "--unpaired", "flickr"], 1, "--unpaired flickr: the store has no features of"),
        (["--candidates", "rige"], 1, "ridge"),
        (["--select", "mr"], 1, "mrr"),
        (["--budget", "soon"], 1, "60s"),
        (["--group", "patient"], 1, "column of --group"),
        (["--pairs", "9"], 1, "9 pairs are too few"),
        (["--memory", "1kB"], 1, "name a --method that reads in passes"),
    ],
)
def test_mistakes(
    scenes_store: Store, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    assert run(["align", "--layers", LAYERS, "--store", scenes_store.url, *arguments]) == code
    assert said in capsys.readouterr().err


def test_a_weight_of_r_s_is_chosen_by_cross_validation(copied: Store, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--layers", LAYERS, "--store", copied.url, "--json", "--dim", "8", "--epochs", "2", "--lr", "0.01"]
    assert run(["align", "--method", "linear", "--weight", "auto", *where]) == 0
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert [row["options"].get("weight", 0.0) for row in document["selection"]].count(0.0) == 1
    assert {row["options"].get("weight", 0.0) for row in document["selection"]} == {0.0, 1.0, 10.0}
    assert {row["method"] for row in document["selection"]} == {document["method"]} == {"linear"}
    assert document["layers"] == {"vision": "block.03", "text": "block.02"}
    assert document["epochs"] <= 2
    assert run(["align", "--method", "linear", *where]) == 0  # it is the default of a named method
    assert json.loads(capsys.readouterr().out)["selection"] == document["selection"]
    assert run(["align", "--method", "linear", "--weight", "10", *where]) == 0
    assert "selection" not in json.loads(capsys.readouterr().out)
    assert run(["align", "--method", "ridge", "--weight", "auto", *where[:4]]) == 2
    assert "name a method with R_S: linear" in capsys.readouterr().err
    assert run(["align", "--method", "linear", "--weight", "much", *where[:4]]) == 1


def test_what_r_s_will_do_is_said_before_training(copied: Store) -> None:
    notes: list[Event] = []
    given = {"method": "linear", "dim": 8, "epochs": 1, "learning_rate": 1e-2}
    done = align(LAYERS, store=copied, **given, weight=10.0, on_event=notes.append)
    said = [note.text for note in notes if isinstance(note, Note) and note.text.startswith("On these pairs R_S")]
    assert len(said) == 1
    diagnosis = done.to_json()["structure_diagnosis"]
    assert diagnosis["verdict"] in said[0]
    assert diagnosis["rows"] == 240
    assert load_aligner(done.folder).metadata["structure_diagnosis"] == diagnosis
    plain = align(LAYERS, store=copied, method="linear", regulariser="none", epochs=1, learning_rate=1e-2)
    assert "structure_diagnosis" not in plain.to_json()


def test_few_pairs_keep_the_published_weight_which_is_said(copied: Store) -> None:
    notes: list[Event] = []
    given = {"store": copied, "epochs": 1, "dim": 4, "learning_rate": 1e-2, "on_event": notes.append}
    done = align(LAYERS, **given, method="linear", pairs=20)
    assert done.selection is None
    assert done.trained.aligner.metadata["options"]["weight"] == 10.0
    assert any(
        isinstance(note, Note) and "published weight: none can be chosen. 20 pairs" in note.text for note in notes
    )


def test_many_runs_select_beside_named_methods(copied: Store, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--layers", LAYERS, "--store", copied.url, "--test", "0.2", "--json"]
    few = ["--candidates", "ridge,procrustes", "--folds", "2"]
    assert run(["align", "--compare", "method=auto,ridge", "--pairs", "60,90", *few, *where]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document["aligners"]) == {f"pairs={n} method={m}" for n in (60, 90) for m in ("auto", "ridge")}
    assert document["differences"]
    (name,) = document["aligners"]["pairs=90 method=auto"]
    assert load_aligner(copied.folder("aligners", name)).metadata["selection"]["folds"] == 2
    assert run(["align", "--method", "auto", "--curve", "60,90", *few, *where[:4], "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {row["baseline"] for row in document["efficiency"]} == {"layers=last regulariser=none method=linear"}


def test_a_selection_reads_the_rows_that_it_uses(copied: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (selecting, "MOST_IN_FOLDS", 60),
        (selecting, "IN_FOLDS", 48),
        (confirmation, "CONFIRMED_ON", 20),
        (confirmation, "CONFIRMED_FROM", 30),
    ):
        monkeypatch.setattr(module, name, value)
    read: dict[str, set[int]] = {}
    reading = Rows._read

    def recorded(self: Rows, numbers: np.ndarray) -> object:
        read.setdefault(f"{self.features.key} {self.path}", set()).update(numbers.tolist())
        return reading(self, numbers)

    monkeypatch.setattr(Rows, "_read", recorded)
    both = sets(copied)
    source = StoredSelection(copied, both, pair_rows(copied, *both))
    options = SelectionOptions(candidates=("ridge", "procrustes"))
    found = select_stored(source, LAYERS, options, common=COMMON)
    assert found.estimate.how == confirmation.HELD_OUT
    assert 60 < max(len(numbers) for numbers in read.values()) <= 48 + 20 + 30
    size = source.size(("block.03", "block.02"), source.rows)
    tight = replace(source, memory=size * 200 // 240)
    monkeypatch.setattr(KernelCsa, "streams", lambda self, options: False)
    methods = {
        row.candidate.options.method for row in select_stored(tight, LAYERS, SelectionOptions(), common=COMMON).rows
    }
    assert "linear" in methods  # whose last fit reads in passes
    assert "kernel-csa" not in methods
