"""Pairs that the data divide: by a column of the sample index, or by the split val beside the training one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from structure.cli.main import run
from structure.pipeline import align, load_aligner
from structure.pipeline.stages.import_features import import_features
from structure.store import Store, open_store
from structure.store.errors import StructureError

ROWS = {"train": 60, "val": 20, "test": 24}


def features(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    both = random.standard_normal((rows, 6))
    sides = [(both @ random.standard_normal((6, 9))).astype(np.float32) for _ in range(2)]
    return sides[0], sides[1]


def kept(place: Path, store: Store, dataset: str, split: str, rows: list[str]) -> None:
    """Vision and text features of rows that say a part of each, which is their label."""
    lines = [f"{i}.png,caption {i},{part}" for i, part in enumerate(rows)]
    table = place / f"{dataset}-{split}.csv"
    table.write_text("\n".join(["image,caption,label", *lines]))
    for model, side in zip(("vit", "bert"), features(len(rows), len(rows)), strict=True):
        np.savez(place / "file.npz", layer=side)
        import_features(
            place / "file.npz",
            model=model,
            modality="vision" if model == "vit" else "text",
            dataset=dataset,
            split=split,
            samples=str(table),
            store=store,
        )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    place = tmp_path_factory.mktemp("given")
    store = open_store(place / "store")
    kept(place, store, "column", "all", [part for part, count in ROWS.items() for _ in range(count)])
    kept(place, store, "parts", "train", ["a", "b"] * 30)
    kept(place, store, "parts", "val", ["a", "b"] * 10)
    return store


def test_a_column_says_which_pairs_train_select_and_test(store: Store) -> None:
    done = align(
        "last", store=store, dataset="column", method="linear", weight=0, epochs=3, dim=4, split_column="label"
    )
    assert (done.trained.pairs, done.trained.validation_pairs, done.test_pairs) == (60, 20, 24)
    assert done.to_json()["test_metrics"]
    other = align("last", store=store, dataset="column", method="linear", weight=0, epochs=3, dim=4)
    assert (other.trained.pairs + other.trained.validation_pairs, other.test_pairs) == (104, 0)
    assert other.name != done.name  # another run, though the options are the same


def test_the_own_split_val_selects(store: Store) -> None:
    done = align("last", store=store, dataset="parts", split="train", method="linear", weight=0, epochs=3, dim=4,
                 split_column="split", name="own")  # fmt: skip
    assert (done.trained.pairs, done.trained.validation_pairs, done.test_pairs) == (60, 20, 0)
    closed = align("last", store=store, dataset="parts", split="train", method="ridge", split_column="split", name="r")
    assert (closed.trained.pairs, closed.trained.validation_pairs) == (60, 20)


def test_many_runs_take_the_same_parts(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["align", "--layers", "last", "--dataset", "column", "--split-column", "label", "--method", "ridge"]
    assert run([*command, "--grid", "ridge=.1,1", "--name", "many", "--store", store.url, "--json", "--quiet"]) == 0
    done = json.loads(capsys.readouterr().out)
    for name in (name for names in done["aligners"].values() for name in names):
        facts = load_aligner(store.folder("aligners", name)).metadata
        assert (facts["pairs"], facts["validation_pairs"], facts["test_pairs"]) == (60, 20, 24)


def test_what_cannot_be_is_told(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["align", "--layers", "last", "--method", "ridge", "--store", store.url, "--split-column"]
    for flags, told in (
        (["split", "--dataset", "column"], "no features of the split val of column by vit; it has those of all"),
        (["label", "--dataset", "parts", "--split", "train"], "'a' is no name of a split"),
        (["item", "--dataset", "column"], "is no name of a split"),
        (["colour", "--dataset", "column"], "Unknown column of --split-column 'colour'"),
        (["label", "--dataset", "column", "--test", ".2"], "Leave out --test"),
        (["label", "--dataset", "column", "--seeds", "2", "--test", ".2"], "Leave out --test"),
        (
            ["label", "--dataset", "column", "--method", "linear", "--grid", "method=auto,ridge"],
            "Leave out --method auto and name",
        ),
        (["label", "--dataset", "column", "--curve", "10,20", "--method", "ridge,linear"], "--split-column is no part"),
    ):
        assert run([*command, *flags]) in (1, 2), flags
        assert told in " ".join(capsys.readouterr().err.split())
    with pytest.raises(StructureError, match="name the --method"):
        align("last", store=store, dataset="column", split_column="label")
