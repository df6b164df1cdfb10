"""What is removed from a store, and what is withdrawn from it: nothing dangles, and everything says what it skips."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from structure.cli.main import run
from structure.pipeline import align, evaluate, extract, rank_layers, search
from structure.pipeline.aligners.saved_aligner import make_way
from structure.pipeline.progress import Event, Note
from structure.pipeline.run_context import RunContext
from structure.pipeline.stages.drop_items import DropItemsRequest
from structure.pipeline.stages.drop_items import run as drop
from structure.pipeline.stages.remove import RemoveRequest
from structure.pipeline.stages.remove import run as remove
from structure.pipeline.stages.status import status
from structure.store import Store, open_store
from structure.store.errors import StructureError, UsageError
from structure.store.local_files import LocalFiles
from structure.store.sample_table import WITHDRAWN, withdrawn_id

VIT, TEXT = "scenes/train/scenes-vit", "scenes/train/scenes-text"


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that is made of two feature sets of 120 scenes; to be copied."""
    store = open_store(tmp_path_factory.mktemp("full") / "store")
    extract(["bundled:scenes-vit", "bundled:scenes-text"], "scenes:120", store=store, layers=["block.0[23]"])
    rank_layers(store=store, k=5, calibrate=8, forecast=False)
    align("auto", store=store, method="ridge", name="ridge")
    align("last", store=store, method="kernel-csa", name="kernel")
    evaluate(
        "scenes", store=store, aligners=["ridge", "kernel"], datasets=["scenes/shape"], compare=("ridge", "kernel")
    )
    search("a red circle", store=store, aligner="ridge", split="train")
    return Path(store.url)


@pytest.fixture
def store(full: Path, tmp_path: Path) -> Store:
    import shutil

    shutil.copytree(full, tmp_path / "store")
    return open_store(tmp_path / "store")


def names(store: Store, kind: str) -> list[str]:
    return store.files.children(kind)


def test_an_aligner_goes_with_its_results_and_embeddings_and_only_when_told(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    before = store.files.keys("")
    assert run(["store", "rm", "aligners/ridge", "--store", store.url, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert store.files.keys("") == before
    assert said["removed"] is False
    assert {row["what"] for row in said["parts"]} == {
        "aligners/ridge",
        "results/ridge",
        "embeddings/ridge",
        "comparisons/ridge..kernel.json",
    }
    assert run(["store", "rm", "aligners/ridge", "--store", store.url, "--dry-run"]) == 0
    assert store.files.keys("") == before
    assert run(["store", "rm", "aligners/ridge", "--store", store.url, "--yes"]) == 0
    assert "ridge" not in " ".join(store.files.keys(""))
    assert names(store, "results") == ["kernel"]
    assert status(store)["stale"] == []
    assert run(["store", "rm", "aligners/ridge", "--store", store.url, "--yes"]) == 1
    assert "Unknown aligner 'ridge'" in capsys.readouterr().err


def test_a_feature_set_goes_with_what_nobody_could_make_again_from_it(store: Store) -> None:
    done = remove(RemoveRequest(f"features/{VIT}"), RunContext.of(store))
    assert store.keys() == [key for key in store if key != VIT]
    assert names(store, "rankings") == []
    assert not store.files.keys(f"neighbours/{VIT}")
    assert not [key for key in store.files.keys("embeddings") if VIT in key]
    assert any(sentence.startswith("aligners/ridge: trained on") for sentence in done.stays)
    assert names(store, "aligners") == ["kernel", "ridge"]  # they work without it
    assert store.files.exists("samples/scenes/train.parquet")
    remove(RemoveRequest("features/scenes/train"), RunContext.of(store))
    assert not store.files.exists("samples/scenes/train.parquet")
    assert store.files.exists("samples/scenes/test.parquet")


def test_rankings_and_results_go_alone(store: Store) -> None:
    (ranking,) = names(store, "rankings")
    done = remove(RemoveRequest(f"rankings/{ranking}"), RunContext.of(store))
    assert done.stays == ("aligners/ridge: its layers were chosen by this ranking; it stays as it is",)
    done = remove(RemoveRequest("results/kernel"), RunContext.of(store))
    assert {part.key for part in done.parts} == {"results/kernel", "comparisons/ridge..kernel.json"}
    assert names(store, "aligners") == ["kernel", "ridge"]
    for name in ("aligners", "samples/scenes", "aligners/../features", "aligners/a/b", "nonsense/x"):
        with pytest.raises((UsageError, StructureError)):
            remove(RemoveRequest(name), RunContext.of(store))


def test_a_removal_that_is_killed_leaves_nothing_that_looks_whole_and_is_finished(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def killed(files: LocalFiles, prefix: str) -> None:
            raise Killed

        patch.setattr(LocalFiles, "remove_tree", killed)
        with pytest.raises(Killed):
            remove(RemoveRequest("aligners/ridge"), RunContext.of(store))
    assert status(store)["stale"] == []
    remove(RemoveRequest("aligners/ridge"), RunContext.of(store))
    assert "ridge" not in " ".join(store.files.keys(""))


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_the_replacement_of_an_aligner_that_is_killed_anywhere_is_finished(
    store: Store, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    unlink, files = os.unlink, itertools.count()

    def killed(*file: Any, **where: Any) -> None:
        if next(files) >= steps:
            raise Killed
        unlink(*file, **where)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", killed)
        with pytest.raises(Killed):
            make_way(store, "ridge")
    make_way(store, "ridge")
    assert [key for of in ("aligners/ridge", "results/ridge", "comparisons") for key in store.files.keys(of)] == []


# -- withdrawing ------------------------------------------------------------------------------------------------------


def dropped(store: Store, *ids: str) -> Any:
    return drop(DropItemsRequest("scenes", ids=ids), RunContext.of(store))


def two_ids(store: Store) -> list[str]:
    return [store.samples("scenes", "train").item_ids[at] for at in (1, 70)]


def test_a_withdrawn_sample_is_in_nothing_any_more(store: Store) -> None:
    ids, samples = two_ids(store), store.samples("scenes", "train")
    texts = [samples.first_texts[1], samples.first_texts[70]]
    rows = {key: {layer: store[key].rows(layer)[[1, 70]] for layer in store[key].layers} for key in (VIT, TEXT)}
    landmarks = store.folder("aligners", "kernel").read("aligner.safetensors")
    assert rows[VIT]["block.03"][0].astype(np.float32).tobytes() in landmarks  # an aligner may hold the rows
    done = dropped(store, *ids)
    assert dict(done.rows) == {VIT: 2, TEXT: 2}
    assert dict(done.samples) == {"scenes/train": 2}
    assert "aligners/kernel" in done.removed
    assert names(store, "aligners") == ["ridge"]
    assert {row["what"] for row in status(store)["stale"]} == {
        "aligner ridge",
        f"ranking {names(store, 'rankings')[0]}",
    }
    content = b"\0".join(path.read_bytes() for path in Path(store.url).rglob("*") if path.is_file())
    for of_layers in rows.values():
        for values in of_layers.values():
            for row in values:
                assert row.tobytes() not in content
                assert row.astype(np.float32).tobytes() not in content
    for key in (VIT, TEXT):
        assert store[key].verify() == []
        assert set(store[key].skipped.values()) == {WITHDRAWN}
        assert not set(ids) & set(store[key].ids.tolist())
    after = store.samples("scenes", "train")
    assert not set(ids) & set(after.item_ids)
    assert not set(texts) & set(after.texts()) - set(samples.texts()[2:])
    assert names(store, "results") == ["ridge"]  # of the split test, which has none of them
    assert not store.files.keys("neighbours/scenes/train")
    assert not [key for key in store.files.keys("embeddings") if "/train/" in key]


def test_every_stage_skips_it_and_says_so(store: Store) -> None:
    ids = two_ids(store)
    dropped(store, *ids)
    notes: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    state = {key: store[key].content() for key in (VIT, TEXT)}
    done = extract(["bundled:scenes-vit"], "scenes:120", store=store, layers=["block.0[23]"], on_event=listen)
    assert done[0].plan.pending_rows == 0  # the data still have them, and nothing is read again
    assert any("2 withdrawn samples are left out" in note for note in notes)
    assert {key: store[key].content() for key in (VIT, TEXT)} == state
    more = extract("bundled:scenes-vit", "scenes:120", store=store, layers=["block.01"], name="other")
    assert (more[0].plan.manifest.encoder, more[0].features.skipped) == ("other", dict.fromkeys([1, 70], WITHDRAWN))
    assert more[0].features.verify() == []
    (said,) = extract(
        "bundled:scenes-text", "scenes:120", store=store, layers=["block.01"], name="said", on_bad_sample="fail"
    )
    assert (said.features.skipped, said.features.verify()) == (dict.fromkeys([1, 70], WITHDRAWN), [])
    notes.clear()
    ranking = rank_layers(
        store=store, vision="scenes-vit", text="scenes-text", k=5, calibrate=8, forecast=False, on_event=listen
    )
    assert ranking.ranking["rows"] <= 118
    sides = {"vision": "scenes-vit", "text": "scenes-text"}
    aligned = align("last", store=store, method="ridge", name="again", on_event=listen, **sides)
    assert aligned.trained.pairs + aligned.trained.validation_pairs == 118
    assert notes.count("2 samples are left out: withdrawn.") == 2
    found = search("a red circle", store=store, aligner="again", split="train", k=200, on_event=listen)
    hits = found.queries[0].hits
    assert len(hits) == found.rows == 118
    assert not {hit.id for hit in hits} & set(ids)
    assert any("2 rows of withdrawn samples are not searched" in note for note in notes)


SUITE = """name: seen
version: 1
defaults: {dataset: "scenes:120", split: train, prompts: plain}
tasks:
  - {kind: zeroshot_classification, metric: acc1, label: shape}
  - {kind: zeroshot_retrieval, metric: image_retrieval_recall@10}
"""


def test_evaluations_skip_it_and_those_made_before_are_gone(store: Store, tmp_path: Path) -> None:
    (tmp_path / "seen.yaml").write_text(SUITE)
    before = evaluate(str(tmp_path / "seen.yaml"), store=store, aligners=["ridge"])
    ids = two_ids(store)
    done = dropped(store, *ids)
    assert dict(done.results) == {"ridge": len(before.results)}
    kept = store.files.keys("results/ridge")
    assert not [key for key in kept if "seen" in key]
    assert [key for key in kept if "predictions" in key]  # of the split test
    again = evaluate(str(tmp_path / "seen.yaml"), store=store, aligners=["ridge"])
    counts = [{row.metric: row.n for row in each.results} for each in (before, again)]
    assert counts[0]["image_retrieval_recall@10"] - counts[1]["image_retrieval_recall@10"] == 2
    assert all(row.provenance["withdrawn"] == 2 for row in again.results if row.task == "zeroshot_classification")


def test_a_drop_that_is_killed_is_finished_by_the_same_command_or_without_ids(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids, write = two_ids(store), LocalFiles.write
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    seen = 0

    def killed(files: LocalFiles, key: str, *parts: Any) -> None:
        nonlocal seen
        seen += key.startswith(f"features/{TEXT}")
        if seen == 3:
            raise Killed
        write(files, key, *parts)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFiles, "write", killed)
        with pytest.raises(Killed):
            dropped(store, *ids)
    unfinished = [row for row in status(store)["stale"] if "interrupted" in row["why"]]
    assert {row["command"] for row in unfinished} == {"structure store drop-items --dataset scenes --yes"}
    assert run(["store", "verify", "--store", store.url]) == 1
    assert "Finish it with drop-items of scenes" in " ".join(capsys.readouterr().out.split())
    command = ["store", "drop-items", "--dataset", "scenes", "--store", store.url, "--json"]
    assert run([*command, "--dry-run"]) == 0
    assert list(json.loads(capsys.readouterr().out)["rows"].values())[:1] == [2]
    assert run(command) == 1
    assert json.loads(capsys.readouterr().out)["dry_run"]
    assert run([*command, "--yes"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == {"scenes/train": 2}
    assert run(["store", "verify", "--store", store.url]) == 0
    capsys.readouterr()
    assert run([*command, "--yes", "--ids", str(tmp_path / "ids.txt")]) == 0  # known again by what they were called
    assert json.loads(capsys.readouterr().out)["rows"] == {}
    assert withdrawn_id(ids[0]) in store.samples("scenes", "train").item_ids


def test_texts_with_tokens_grow_after_one_was_withdrawn(tmp_path: Path) -> None:
    """The tokens that are there stay where they are, although nobody can count those of the withdrawn text again."""
    options: dict[str, Any] = {"layers": ["block.03"], "tokens": ["block.03"], "captions": 2}
    store, whole = open_store(tmp_path / "store"), open_store(tmp_path / "whole")
    extract("bundled:scenes-text", "scenes:40", store=store, **options)
    drop(DropItemsRequest("scenes", ids=[store.samples("scenes", "train").item_ids[4]]), RunContext.of(store))
    for place in (store, whole):
        (done,) = extract("bundled:scenes-text", "scenes:45", store=place, append=True, **options)
    assert done.plan.manifest.key == "scenes/train/scenes-text.captions-2"
    grown, fresh = (place[done.plan.manifest.key] for place in (store, whole))
    assert (len(grown), grown.verify(), sorted(grown.skipped)) == (90, [], [8, 9])
    for row in (0, 7, 10, 63, 64, 89):
        ours, theirs = (each.tokens("block.03", row, row + 1).values for each in (grown, fresh))
        assert ours.shape == theirs.shape
        assert np.allclose(ours, theirs, atol=0.05)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("nobody", "1 of the 1 ids are of no sample of scenes: 'nobody'. Nothing was withdrawn"),
        ("0\nn1\nn2\nn3\nn4\nn5\nn6\nn7", "'n4' and 3 more. Nothing was withdrawn, of the others neither."),
        ("", "holds no id"),
        (None, "nothing to finish"),
    ],
)
def test_what_is_not_there_is_told_and_nothing_changes(
    store: Store, lines: str | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ids.txt").write_text(lines or "")
    before = {key: store.files.read(key) for key in store.files.keys("samples")}
    flags = [] if lines is None else ["--ids", str(tmp_path / "ids.txt")]
    assert run(["store", "drop-items", "--dataset", "scenes", "--yes", *flags, "--store", store.url]) in (1, 2)
    assert told in " ".join(capsys.readouterr().err.split())
    assert {key: store.files.read(key) for key in store.files.keys("samples")} == before
