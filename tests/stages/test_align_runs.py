"""Training from the store beyond one plain run: test pairs, extras, passes over shards, killed runs, cards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from structure.cli.main import run
from structure.pipeline import align, extract, load_aligner
from structure.pipeline.aligners.aligner_runs import WEIGHTS
from structure.pipeline.aligners.model_card import card as card_of
from structure.pipeline.aligners.options import TrainingOptions, applicable
from structure.pipeline.aligners.versions import versions
from structure.pipeline.pairing.labelled import draw_per_class
from structure.pipeline.pairing.labelled_name import Labelled
from structure.pipeline.pairing.layer_cache import LayerCache
from structure.pipeline.progress import Event, Note
from structure.store import Store, StructureError
from structure.store.column_reader import ColumnReader
from structure.store.errors import DamageError
from tests.light_command import run_light
from tests.warm import Warm

QUICK = TrainingOptions(dim=16, epochs=4, learning_rate=3e-3, device="cpu")
LAYERS = "block.03,block.02"


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


def test_test_pairs_are_the_same_for_every_seed_and_never_trained_on(copied: Store) -> None:
    runs = [align(LAYERS, store=copied, options=QUICK.changed(seed=seed), test=0.25) for seed in (1, 2)]
    for done in runs:
        assert done.test_pairs == 60
        assert done.trained.pairs + done.trained.validation_pairs == 180
        assert done.test.keys() == {f"{way}_retrieval_recall@{k}" for way in ("image", "text") for k in (1, 5, 10)}
        facts = load_aligner(done.folder).metadata
        assert facts["test_metrics"] == done.test
        assert facts["test_pairs"] == 60
    events: list[Event] = []
    most = align(LAYERS, store=copied, options=QUICK.changed(method="ridge"), test=0.9, on_event=events.append)
    assert most.test_pairs == 80
    assert any("80 of 240 pairs are the test: at least 16, at most a third" in text for text in notes(events))
    with pytest.raises(StructureError, match="--test 2 is no fraction"):
        align(LAYERS, store=copied, options=QUICK, test=2)
    with pytest.raises(StructureError, match=r"--pairs 200 .* has 180 pairs besides 60 test pairs"):
        align(LAYERS, store=copied, options=QUICK, test=0.25, pairs=200)


IN_PASSES = {
    "csa": {"regulariser": "none"},
    "csa + R_S": {"structure_pairs": 64},
    "asif": {"most_anchors": 50, "nearest": 20},
} | {name: {} for name in ("ridge", "procrustes", "kernel-csa", "relative")}


@pytest.mark.parametrize("case", IN_PASSES)
def test_passes_over_the_shards_give_what_memory_gives(copied: Store, case: str) -> None:
    given = {"method": case.partition(" ")[0], "dim": 8, "device": "cpu"}
    options = TrainingOptions(**applicable(given | IN_PASSES[case]))
    events: list[Event] = []
    whole = align(LAYERS, store=copied, options=options, name="whole")
    passes = align(LAYERS, store=copied, options=options, name="passes", memory=1000, on_event=events.append)
    assert any("read in passes" in text for text in notes(events))
    for side in ("vision", "text"):
        ours, theirs = (getattr(run.trained.aligner, side).state_dict() for run in (whole, passes))
        for name, value in ours.items():
            np.testing.assert_array_equal(value, theirs[name])


def test_a_method_that_needs_all_rows_says_which_do_not(copied: Store) -> None:
    with pytest.raises(StructureError, match=r"--memory allows 1,000.*csa, .*procrustes, ridge"):
        align(LAYERS, store=copied, options=QUICK.changed(method="asif", most_anchors=None), memory=1000)


def test_layers_are_read_once_for_many_runs(copied: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, reads = LayerCache(), []
    plain = ColumnReader.read
    monkeypatch.setattr(ColumnReader, "read", lambda self, *args: reads.append(args) or plain(self, *args))
    one = align(LAYERS, store=copied, options=QUICK, cache=cache, pairs=100, test=0.1)
    first = len(reads)
    align(LAYERS, store=copied, options=QUICK.changed(seed=7), cache=cache, pairs=90, test=0.1)
    assert len(reads) == first > 0
    assert align(LAYERS, store=copied, options=QUICK, pairs=100, test=0.1).trained.metrics == one.trained.metrics


def test_labelled_pictures_join_the_training_pairs(copied: Store) -> None:
    events: list[Event] = []
    done = align(LAYERS, store=copied, options=QUICK, add=["scenes:240:2"], on_event=events.append)
    (told,) = [text for text in notes(events) if "labelled pairs" in text]
    count = int(told.split()[0])
    assert 8 <= count <= 16  # eight shapes, one of which may be rare
    assert done.trained.pairs + done.trained.validation_pairs == 240 + count
    assert load_aligner(done.folder).metadata["added"] == ["scenes:240:2"]
    with pytest.raises(StructureError, match="write DATASET:K"):
        align(LAYERS, store=copied, options=QUICK, add=["scenes"])
    with pytest.raises(StructureError, match=r"take [\d,]+ bytes; --memory allows 1,000.*leave out --add"):
        align(LAYERS, store=copied, options=QUICK, add=["scenes:240:2"], memory=1000)
    assert Labelled.parse("pairs:a.jsonl:3") == Labelled("pairs:a.jsonl", 3)


def test_draws_per_class() -> None:
    labels = np.array([0, 1, -1, 1, 1, 0, 2, -1])
    drawn = draw_per_class(labels, 2, seed=0)
    assert np.bincount(labels[drawn]).tolist() == [2, 2, 1]
    np.testing.assert_array_equal(drawn, draw_per_class(labels, 2, seed=0))


def test_unpaired_features_enter_r_s(copied: Store) -> None:
    extract(["bundled:scenes-vit"], "scenes:40", split="test", store=copied)
    plain = align(LAYERS, store=copied, options=QUICK)
    done = align(LAYERS, store=copied, options=QUICK, unpaired=["scenes/test"])
    facts = load_aligner(done.folder).metadata
    assert facts["unpaired"] == {"vision": 40, "text": 0}
    assert facts["unpaired_features"] == ["scenes/test"]
    assert done.trained.history[-1]["R_S_vision"] != plain.trained.history[-1]["R_S_vision"]
    with pytest.raises(StructureError, match=r"--unpaired flickr: .* it has .*scenes/test/scenes-vit"):
        align(LAYERS, store=copied, options=QUICK, unpaired=["flickr"])


def test_a_nan_in_a_shard_is_named_by_layer_and_sample(copied: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ColumnReader.read

    def spoiled(self: ColumnReader, start: int, stop: int, into: np.ndarray, *given: Any) -> None:
        plain(self, start, stop, into, *given)
        if self.column.path == "block.03" and self.manifest.modality == "vision" and start <= 17 < stop:
            into[17 - start, 3] = np.nan

    monkeypatch.setattr(ColumnReader, "read", spoiled)
    for method in ("linear", "ridge"):
        with pytest.raises(StructureError, match=r"layer block\.03: sample \S+ \(row 17\) holds a NaN"):
            align(LAYERS, store=copied, options=QUICK.changed(method=method))
    with pytest.raises(StructureError, match=r"row 17"):
        align(LAYERS, store=copied, options=QUICK.changed(method="ridge"), memory=1000)


def test_what_is_made_again_and_what_is_taken(copied: Store) -> None:
    first = align(LAYERS, store=copied, options=QUICK, name="a", test=0.1)
    stamp = first.folder.modified("aligner.safetensors")
    again = align(LAYERS, store=copied, options=QUICK, name="a", test=0.1)
    assert first.folder.modified("aligner.safetensors") == stamp
    ours, theirs = first.to_json(), again.to_json()
    assert theirs == ours
    assert again.trained.history == first.trained.history
    other = QUICK.changed(weight=1.0)
    for dry_run in (True, False):
        with pytest.raises(StructureError, match=r"The aligner a is there, made by another run \(.*Pass --replace"):
            align(LAYERS, store=copied, options=other, name="a", test=0.1, dry_run=dry_run)
    assert first.folder.modified("aligner.safetensors") == stamp
    align(LAYERS, store=copied, options=other, name="a", test=0.1, replace=True)
    assert first.folder.modified("aligner.safetensors") != stamp


AGAIN = {
    "a closed form, tested": ["--method", "ridge", "--test", "0.2"],
    "in epochs, with rows of no pair": ["--dim", "8", "--epochs", "1", "--pairs", "60", "--unpaired", "scenes"],
    "in passes": ["--method", "csa", "--regulariser", "none", "--memory", "1KB"],
    "selected": ["--candidates", "ridge", "--layer-candidates", "1", "--seed", "3"],
    "many": ["--method", "procrustes", "--seeds", "2"],
}


@pytest.mark.parametrize("case", AGAIN)
def test_asked_again_an_aligner_is_taken_as_it_is_without_torch(
    copied: Store, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["align", "--layers", LAYERS, *AGAIN[case], "--store", copied.url]
    assert run(command) == 0
    told = capsys.readouterr().out.splitlines()
    again = run_light(*command)
    assert ("2 aligners, 0 of them trained now" if case == "many" else "is there, made by the same run") in again
    assert len(told) > 3
    assert set(told) <= set(again.splitlines())


def test_the_version_of_torch_is_known_without_it() -> None:
    assert versions()["torch"] == torch.__version__


def test_weights_that_are_damaged_are_noticed_without_reading_them(copied: Store) -> None:
    options = TrainingOptions(method="ridge")
    made = align(LAYERS, store=copied, options=options, name="a")
    whole = made.folder.read(WEIGHTS)
    made.folder.write(WEIGHTS, whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamageError, match="its record says"):
        align(LAYERS, store=copied, options=options, name="a")
    events: list[Event] = []
    align(LAYERS, store=copied, options=options, name="a", replace=True, on_event=events.append)
    assert any("is damaged: it is trained again" in text for text in notes(events))
    assert made.folder.read(WEIGHTS) == whole


def test_the_card_tells_what_it_was_made_from_and_escapes_names(copied: Store) -> None:
    done = align(LAYERS, store=copied, options=QUICK.changed(refit=True), name="a_b", test=0.1)
    card = done.folder.read("README.md").decode()
    for text in (
        "block.03",
        "scenes-vit",
        "scenes / train",
        "refitted to | 216",
        "test image",
        "torch",
        "a\\_b",
    ):
        assert text in card
    assert "\\<b\\>" in card_of(done.trained.aligner.describe(data={"dataset": "<b>"}), "a")


SLOW = TrainingOptions(dim=16, epochs=40, patience=40, learning_rate=1e-3, batch=64, method="lowrank", device="cpu")
KILLED = f"""
import sys
from structure.pipeline import align
from structure.pipeline.aligners.model_card import card as card_of
from structure.pipeline.aligners.options import TrainingOptions, applicable
options = TrainingOptions(**{SLOW.to_dict()})
align("{LAYERS}", store=sys.argv[1], options=options, name="run", checkpoint_every=0)
"""


def test_a_run_killed_at_any_moment_ends_with_the_same_weights(copied: Store, warm: Warm) -> None:
    process = warm.start(KILLED, copied.url)
    checkpoint = Path(copied.url) / "checkpoints" / "run" / "checkpoint.safetensors"
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (Path(copied.url) / "aligners" / "run").exists()
    events: list[Event] = []
    resumed = align(LAYERS, store=copied, options=SLOW, name="run", on_event=events.append)
    assert any("goes on after epoch" in text for text in notes(events))
    whole = align(LAYERS, store=copied, options=SLOW, name="whole")
    assert len(resumed.trained.history) == len(whole.trained.history)
    for side in ("vision", "text"):
        ours, theirs = (getattr(run.trained.aligner, side).state_dict() for run in (resumed, whole))
        for name, value in ours.items():
            np.testing.assert_array_equal(value, theirs[name])
    assert not checkpoint.parent.exists()
