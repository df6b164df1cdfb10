"""Zero-shot labels: the numbers of an evaluation, files that are safe to open, and mistakes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from structure.cli.main import run
from structure.pipeline import AlignedModel, align, label
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.inference.labels import top_labels
from structure.pipeline.metrics.zero_shot_classifier import class_vectors
from structure.store import StructureError
from structure.store.errors import UsageError
from tests.inference.conftest import Place
from tests.inference.test_search import noting

COLOURS = ["red", "blue", "green", "-violet", "=cmd|' /C calc'!A0", "golden"]


def test_labels_are_the_nearest_classes_at_the_aligners_temperature(place: Place, tmp_path: Path) -> None:
    options = TrainingOptions(method="linear", dim=8, epochs=2, learning_rate=1e-2, temperature=0.2)
    align("last", store=place.store, options=options, name="trained")
    templates = ["a {c} shape", "something {c}"]
    done = label("mine", classes=COLOURS, prompt=templates, store=place.store, aligner="trained", device="cpu")
    assert (len(done.rows), done.encoder_passes, done.temperature) == (80, 0, pytest.approx(0.2))
    assert sum(done.counts.values()) == 80
    model = AlignedModel.load(place.store, "trained", device="cpu")
    layer = model.aligner.metadata["layers"]["vision"]
    images = model.aligner.embed_images(place.store["mine/all/scenes-vit"].rows(layer).astype(np.float32))
    words = [template.replace("{c}", name) for name in COLOURS for template in templates]
    vectors = class_vectors(model.encode_texts(words).reshape(len(COLOURS), 2, -1)).numpy()
    scores = np.asarray(images) @ vectors.T
    shares = np.exp(scores / 0.2) / np.exp(scores / 0.2).sum(axis=1, keepdims=True)
    for row, of_row, given in zip(scores, shares, done.rows, strict=True):
        best = np.sort(row)[::-1]
        assert given["score"] == pytest.approx(best[0], abs=5e-4)
        assert given["margin"] == pytest.approx(best[0] - best[1], abs=1e-3)
        assert given["probability"] == pytest.approx(of_row.max(), abs=5e-3)
        assert row[COLOURS.index(given["label"])] == pytest.approx(best[0], abs=1e-3)
        assert [given[f"score_{place}"] for place in (2, 3, 4, 5)] == pytest.approx(best[1:5], abs=5e-4)


def test_equal_scores_come_in_the_order_of_the_classes() -> None:
    found = top_labels(np.eye(3, dtype=np.float16)[:1], np.eye(3, dtype=np.float32)[[1, 0, 1, 0, 2, 2]], temperature=1)
    assert found.classes.tolist() == [[1, 3, 0, 2, 4]]
    assert found.margins.tolist() == [0.0]


@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
def test_files_of_a_folder(place: Place, tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "=album"
    folder.mkdir()
    for number, name in enumerate(["a.png", "-b.png", "@c.png"]):
        (folder / name).write_bytes((place.photos / f"{number:03d}.png").read_bytes())
    names, out = tmp_path / "classes.txt", tmp_path / "new" / f"labels.{ending}"
    names.write_text("\n".join(COLOURS))
    command = ["label", str(folder), "--classes", str(names), "--out", str(out), "--store", place.store.url]
    assert run([*command, "--quiet"]) == 0
    if ending == "csv":
        with out.open(newline="") as file:
            rows = list(csv.DictReader(file))
        texts = [cell for row in rows for cell in row.values() if not cell.lstrip("-").replace(".", "").isdigit()]
        assert not [text for text in texts if text[:1] in "=+-@" and text]
        assert {row["id"] for row in rows} == {"a.png", "'-b.png", "'@c.png"}
        assert all(-1 <= float(row["score_5"]) <= float(row["score"]) for row in rows)  # numbers stay numbers
    else:
        rows = pq.read_table(out).to_pylist() if ending == "parquet" else json.loads(out.read_text())
        assert {row["id"] for row in rows} == {"a.png", "-b.png", "@c.png"}
        assert rows[0]["path"].startswith(str(folder))
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    capsys.readouterr()
    assert run([*command, "--json", "--quiet"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["images"], document["encoder_passes"], len(document["labels"])) == (3, 0, 3)


def test_a_method_without_temperature_says_so(place: Place) -> None:
    said: list[str] = []
    done = label("mine", classes="red, blue", store=place.store, on_event=noting(said))
    assert done.temperature == 0.05
    assert any("ridge is trained without a temperature: probabilities are at 0.05" in text for text in said)
    assert done.classes == ("red", "blue")
    assert "label_3" not in done.rows[0]


def test_mistakes_are_told(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = place.store
    with pytest.raises(UsageError, match="is no file, and one name alone"):
        label("mine", classes="red", store=store)
    with pytest.raises(UsageError, match="name 2 of 3 is empty"):
        label("mine", classes="red,,blue", store=store)
    with pytest.raises(StructureError, match=r"'red' stands on lines 1 and 2"):
        label("mine", classes=["red", "red"], store=store)
    with pytest.raises(StructureError, match=r"--prompt 1: 'a thing' has no \{c\}"):
        label("mine", classes="red,blue", prompt="a thing", store=store)
    with pytest.raises(StructureError, match=r"Unknown dataset 'mnie'. Did you mean mine"):
        label("mnie", classes="red,blue", store=store)
    with pytest.raises(UsageError, match=r"ends in .csv, .parquet or .json"):
        label("mine", classes="red,blue", out=tmp_path / "labels.xlsx", store=store)
    with pytest.raises(UsageError, match="which has no splits"):
        label(place.photos, classes="red,blue", split="test", store=store)
    assert run(["label", str(tmp_path / "none"), "--classes", "a,b", "--store", store.url]) == 1
    assert "Unknown dataset" in capsys.readouterr().err
