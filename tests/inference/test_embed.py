"""Aligned embeddings as files: the same rows in every form, with their ids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

from structure.cli.main import run
from structure.pipeline import AlignedModel, embed
from structure.store import StructureError
from structure.store.errors import UsageError
from tests.inference.conftest import Place


def test_every_form_holds_the_aligners_embeddings(place: Place, tmp_path: Path) -> None:
    store = place.store
    model = AlignedModel.load(store, "ridge", device="cpu")
    layers = model.aligner.metadata["layers"]
    images = model.aligner.embed_images(store["mine/all/scenes-vit"].rows(layers["vision"]).astype(np.float32))
    texts = model.aligner.embed_texts(store["mine/all/scenes-text"].rows(layers["text"]).astype(np.float32))
    done = embed("mine", out=tmp_path / "e.parquet", store=store)
    assert (done.rows, done.dim, done.encoder_passes, done.aligner) == (80, model.dim, 0, "ridge")
    table = pq.read_table(tmp_path / "e.parquet")
    ids = table["id"].to_pylist()
    assert ids == [f"photos/{number:03d}.png" for number in range(80)]
    assert all(Path(path).is_file() for path in table["path"].to_pylist())
    values = np.array(table["embedding"].to_pylist())
    assert np.abs(values - images).max() < 5e-4
    embed("mine", out=tmp_path / "e.npy", store=store)
    array = np.load(tmp_path / "e.npy")
    assert array.dtype == np.float32
    assert np.array_equal(array, values.astype(np.float32))
    assert json.loads((tmp_path / "e.ids.json").read_text()) == ids
    embed("mine", out=tmp_path / "e.safetensors", store=store)
    with safe_open(tmp_path / "e.safetensors", "numpy") as file:
        assert np.array_equal(file.get_tensor("embeddings"), array)
        assert json.loads(file.metadata()["ids"]) == ids
    embed("mine", of="text", out=tmp_path / "t.npy", store=store)
    assert np.abs(np.load(tmp_path / "t.npy") - texts).max() < 5e-4
    assert json.loads((tmp_path / "t.ids.json").read_text())[0] == "photos/000.png#0"


def test_the_folders_of_clip_retrieval(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "folder"
    command = ["embed", "mine", "--format", "clip-retrieval", "--out", str(out), "--store", place.store.url]
    assert run([*command, "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["texts"] == 80
    images, texts = (np.load(out / f"{side}_emb" / f"{side}_emb_0.npy") for side in ("img", "text"))
    assert images.dtype == texts.dtype == np.float16
    metadata = pq.read_table(out / "metadata" / "metadata_0.parquet").to_pylist()
    assert len(images) == len(texts) == len(metadata) == 80
    assert set(metadata[0]) == {"image_path", "caption", "id"}
    assert Path(metadata[5]["image_path"]).name == "005.png"
    single = embed("mine", of="text", out=tmp_path / "t.npy", store=place.store)
    assert np.array_equal(np.load(single.out).astype(np.float16), texts)
    assert run(command) == 1
    assert "is there and not empty" in capsys.readouterr().err
    embed(place.photos, format="clip-retrieval", out=tmp_path / "bare", store=place.store)
    assert sorted(path.name for path in (tmp_path / "bare").iterdir()) == ["img_emb", "metadata"]


def test_mistakes_are_told(place: Place, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in .parquet, .npy or .safetensors"):
        embed("mine", out=tmp_path / "e.csv", store=place.store)
    with pytest.raises(UsageError, match="writes images and their texts"):
        embed("mine", out=tmp_path / "e", of="text", format="clip-retrieval", store=place.store)
    with pytest.raises(StructureError, match=r"Unknown value of --format 'clip'"):
        embed("mine", out=tmp_path / "e", format="clip", store=place.store)
    assert list(tmp_path.glob("e*")) == []
