"""A bundle opens on another machine with the same answers, or says what differs; a stranger's one is safe."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from structure.cli.main import run
from structure.pipeline import AlignedModel, align, export, extract, load_aligner, open_bundle
from structure.pipeline.aligners.aligner_names import aligner_names
from structure.pipeline.aligners.aligner_runs import BUNDLE
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.encoders.libraries.bundled import BundledLibrary
from structure.pipeline.exports import bundle_reading
from structure.pipeline.exports.bundle import PROBE, digest, portable
from structure.store import Store, StructureError, open_store
from structure.store.errors import DamageError, FingerprintError, NotPresentError


@pytest.fixture(scope="module")
def made(scenes_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "icons"
    export("ridge", folder, format="bundle", store=scenes_store, classes=("circle", "square"), templates=("a {c}",))
    return folder


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "bundle"))


def change(folder: Path, name: str, edit: Callable[[Any], Any]) -> None:
    """Edit one JSON file as a stranger would: with the digests put right."""
    content = json.loads((folder / name).read_text())
    content.pop("seal", None)
    (folder / name).write_text(json.dumps(edit(content) or content))
    settle(folder)


def settle(folder: Path) -> None:
    record = json.loads((folder / BUNDLE).read_text())
    if isinstance(record, dict) and isinstance(record.get("files"), dict):
        record["files"] = {name: digest(folder / name) for name in record["files"] if (folder / name).is_file()}
        (folder / BUNDLE).write_text(json.dumps(record))


def test_it_opens_with_the_same_answers_and_joins_a_store(
    bundle: Path, scenes_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = AlignedModel.load(scenes_store, "ridge", device="cpu")
    store = ["--store", str(tmp_path / "other")]
    assert run(["open", str(bundle), "--as", "mine", *store, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["aligner"] == "mine"
    assert max(said["largest_difference"].values()) < 1e-6
    theirs = AlignedModel.load(tmp_path / "other", "mine", device="cpu")
    np.testing.assert_array_equal(theirs.encode_texts(["a red circle"]), ours.encode_texts(["a red circle"]))
    assert (
        load_aligner(bundle).metadata["run"] == load_aligner(scenes_store.folder("aligners", "ridge")).metadata["run"]
    )
    classes, prompts = sorted(said["labels"])
    words = ["label", "scenes:20", "--classes", classes, "--prompts", prompts, "--json", "--quiet", "--yes"]
    assert run([*words, *store]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == ["circle", "square"]
    assert run(["search", "a star", "--aligner", str(bundle), *store]) == 1
    said_now = " ".join(capsys.readouterr().err.split())
    assert "is a bundle, and an aligner is used from a store" in said_now
    assert "structure open" in said_now
    assert run(["open", str(bundle), "--as", "mine", *store, "--quiet"]) == 0  # the same run again
    other = bundle.parent / "another"
    export("mlp", other, format="bundle", store=scenes_store)
    assert run(["open", str(other), "--as", "mine", *store]) == 1
    assert "Pass --replace" in capsys.readouterr().err
    assert run(["open", str(other), "--as", "mine", "--replace", *store]) == 0


def local_store(root: Path) -> Store:
    """An aligner whose encoders lie in folders of this machine."""
    bundled = BundledLibrary()._root()
    for name in ("scenes-vit", "scenes-text"):
        shutil.copytree(bundled / name, root / "private" / name)
    store = open_store(root / "store")
    models = [f"hf:{root / 'private' / name}" for name in ("scenes-vit", "scenes-text")]
    extract(models, "scenes:20", store=store, layers=["block.01"])
    align("block.01,block.01", store=store, options=TrainingOptions(method="ridge"), name="a")
    return store


def test_folders_of_a_machine_are_not_named_and_can_be_told(tmp_path: Path) -> None:
    store = local_store(tmp_path)
    expected = AlignedModel.load(store, "a", device="cpu").encode_texts(["a red circle"])
    export("a", tmp_path / "out", format="bundle", store=store)
    for file in (tmp_path / "out").iterdir():
        assert str(tmp_path).encode() not in file.read_bytes(), file.name
        assert b"private" not in file.read_bytes(), file.name
    with pytest.raises(NotPresentError, match=r"hf:scenes-vit was a folder .*structure open .* --vision hf:/path/to"):
        open_bundle(tmp_path / "out")
    names = {"vision": "bundled:scenes-vit", "text": f"hf:{(tmp_path / 'private' / 'scenes-text')}"}
    opened = open_bundle(tmp_path / "out", **names)  # type: ignore[arg-type]
    np.testing.assert_array_equal(opened.model.encode_texts(["a red circle"]), expected)
    again = AlignedModel.load(tmp_path / "other", opened.add_to(tmp_path / "other").name, device="cpu")
    np.testing.assert_array_equal(again.encode_texts(["a red circle"]), expected)
    with pytest.raises(FingerprintError, match=r"vision encoder here is not the one .*\(weights: .*with --vision"):
        open_bundle(tmp_path / "out", vision="bundled:scenes-text", text=names["text"])


def test_another_answer_names_the_versions_that_differ(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def older(record: Any) -> None:
        record["versions"]["transformers"] = "4.9.0"

    change(bundle, BUNDLE, older)
    (note,) = open_bundle(bundle).notes
    assert "transformers 4.9.0 there" in note
    assert "same answers" in note
    tensors = load_file(bundle / PROBE)
    tensors["embeddings.text"] = tensors["embeddings.text"] + np.float32(0.02)
    save_file(tensors, bundle / PROBE)
    settle(bundle)
    assert run(["open", str(bundle), "--store", str(tmp_path / "none")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "other embeddings here (text by up to 0.02; 0.0001 is rounding)" in said
    assert "transformers 4.9.0 there" in said
    assert "pip install -r requirements.txt" in said
    assert not (tmp_path / "none" / "aligners").exists()
    change(bundle, BUNDLE, lambda record: record.update(versions={}))
    with pytest.raises(StructureError, match="All versions on record are the same"):
        open_bundle(bundle)


def test_an_encoder_that_is_not_here(bundle: Path) -> None:
    def absent(record: Any) -> None:
        record["metadata"]["encoders"]["text"]["spec"] = "hf:nobody/has-this"

    change(bundle, "aligner.json", absent)
    with pytest.raises(NotPresentError, match=r"text encoder of the bundle is not here.* --text NAME \(weights \w{16}"):
        open_bundle(bundle)


def spec(name: str) -> Callable[[Any], None]:
    def edit(record: Any) -> None:
        record["metadata"]["encoders"]["vision"]["spec"] = name

    return edit


def head(**changes: Any) -> Callable[[Any], None]:
    return lambda record: record["vision"].update(changes)


@pytest.mark.parametrize(
    ("file", "edit", "says"),
    [
        ("aligner.json", spec("hf:/etc"), "leads to a place of one machine"),
        ("aligner.json", spec("hf:../model"), "leads to a place of one machine"),
        ("aligner.json", spec("hf:~/model"), "leads to a place of one machine"),
        ("aligner.json", spec("timm:resnet18@/etc/passwd"), "leads to a place of one machine"),
        ("aligner.json", spec("hf:a\n/b"), "leads to a place of one machine"),
        ("aligner.json", head(width=10**9, dim=10**9), "other tensors than the file holds"),
        ("aligner.json", head(kind="mlp", settings={"hidden": 10**12}), "other tensors than the file holds"),
        ("aligner.json", lambda record: record["metadata"].update(encoders=0), "does not say which encoders"),
        (
            "aligner.json",
            lambda record: record["metadata"].update(encoders={"vision": {}, "text": {}}),
            "which encoders",
        ),
        (BUNDLE, lambda record: record.update(version=2), "version 2; this program reads 1"),
        (BUNDLE, lambda record: record.update(format="x"), "not the record of a bundle"),
        (BUNDLE, lambda record: record.update(texts=["x"] * 1000), "does not say what"),
        (BUNDLE, lambda record: record.update(texts=[7]), "does not say what"),
        (BUNDLE, lambda record: record.update(files=["../../x"]), "does not say what"),
        (BUNDLE, lambda record: record.update(texts=["x"]), "other shapes than the probes"),
        (BUNDLE, lambda record: [record], "not the record of a bundle"),
    ],
)
def test_a_bundle_of_a_stranger_is_refused(bundle: Path, file: str, edit: Callable[[Any], Any], says: str) -> None:
    change(bundle, file, edit)
    with pytest.raises(StructureError, match=says):
        open_bundle(bundle)


def test_files_that_are_not_those_that_were_written(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StructureError, match="There is no bundle in"):
        open_bundle(bundle.parent)
    elsewhere = bundle.parent / "weights"
    (bundle / "aligner.safetensors").rename(elsewhere)
    with pytest.raises(DamageError, match="missing or no plain file"):
        open_bundle(bundle)
    (bundle / "aligner.safetensors").symlink_to(elsewhere)
    with pytest.raises(DamageError, match="missing or no plain file"):
        open_bundle(bundle)
    (bundle / "aligner.safetensors").unlink()
    (bundle / "aligner.safetensors").write_bytes(elsewhere.read_bytes()[:-1] + b"x")
    with pytest.raises(DamageError, match="not the file that the bundle was made with"):
        open_bundle(bundle)
    monkeypatch.setattr(bundle_reading, "MOST_OTHER", 100)
    with pytest.raises(DamageError, match="more than 100 bytes"):
        open_bundle(bundle)
    monkeypatch.undo()
    (bundle / BUNDLE).write_text("[" * 100_000)
    with pytest.raises(DamageError, match="is not JSON"):
        open_bundle(bundle)


@pytest.mark.parametrize(
    "tensors",
    [
        {"image.0": np.zeros((2, 2, 4), np.uint8)},
        {"image.0": np.zeros((4096, 2, 3), np.uint8)},
        {"image.0": np.zeros((2, 2, 3), np.float32)},
        {"image.1": np.zeros((2, 2, 3), np.uint8)},
        {"image.0": np.zeros((2, 2, 3), np.uint8), "embeddings.text": np.full((5, 4), np.nan, np.float32)},
        {"image.0": np.zeros((2, 2, 3), np.uint8), "embeddings.vision": np.zeros((9, 4), np.float32)},
    ],
)
def test_probes_of_other_shapes(bundle: Path, tensors: dict[str, np.ndarray]) -> None:
    fine = {"embeddings.vision": np.zeros((1, 4), np.float32), "embeddings.text": np.zeros((5, 4), np.float32)}
    save_file({**fine, **tensors}, bundle / PROBE)
    settle(bundle)
    with pytest.raises(DamageError, match="is damaged"):
        open_bundle(bundle)


def test_names_that_mean_the_same_everywhere_stay(scenes_store: Store) -> None:
    aligner = load_aligner(scenes_store.folder("aligners", "ridge"))
    for name in ("minilm", "hf:facebook/dinov2-small", "timm:vit_small_patch16_224.augreg_in21k", "bundled:scenes-vit"):
        records = {side: {**aligner.metadata["encoders"][side], "spec": name} for side in ("vision", "text")}
        kept, local = portable(aligner.describe(encoders=records))
        assert kept.metadata["encoders"]["text"]["spec"] == name
        assert local == {"vision": False, "text": False}
    records = {
        side: {**aligner.metadata["encoders"][side], "spec": "timm:resnet18@/a/b?image_size=64"} for side in local
    }
    kept, local = portable(aligner.describe(encoders=records))
    assert kept.metadata["encoders"]["text"]["spec"] == "timm:resnet18@b?image_size=64"
    assert local == {"vision": True, "text": True}


def test_a_folder_in_place_of_an_aligner_says_what_to_type(tmp_path: Path) -> None:
    """In a store without any aligner too: what to train is no answer to that."""
    store = open_store(tmp_path / "store")
    for record, told in (("bundle.json", "structure open"), ("aligner.json", "load_aligner")):
        folder = tmp_path / record.partition(".")[0]
        folder.mkdir()
        (folder / record).write_text("{}")
        with pytest.raises(StructureError, match=told):
            aligner_names(store, [str(folder)])
