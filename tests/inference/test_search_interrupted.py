"""Search where something is missing or stops: encoders that are gone, imported features, Ctrl-C, two at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from structure.cli.main import run
from structure.pipeline import embed, label, search
from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.inference.embedding_records import prefix_of
from structure.store import FeatureSet
from structure.store.errors import NotPresentError, ReadOnlyError
from structure.store.local_files import LocalFiles
from structure.store.shard_writer import ShardWriter, lease_of
from tests.inference.conftest import Place

PREFIX = prefix_of("ridge", "mine/all/scenes-vit")


def rename_encoder(place: Place, spec: str, *, side: str = "text") -> None:
    """The aligner's record names another encoder."""
    folder = place.store.folder("aligners", "ridge")
    record = json.loads(folder.read("aligner.json"))
    record.pop("seal", None)
    record["metadata"]["encoders"][side]["spec"] = spec
    folder.write("aligner.json", json.dumps(record).encode())


def test_an_encoder_that_is_gone_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rename_encoder(place, f"hf:{place.root}/nowhere")
    with pytest.raises(NotPresentError, match=r"nowhere.* The aligner reads scenes-text from there: put it back, or a"):
        search("a red circle", store=place.store)
    rename_encoder(place, "open_clip:ViT-B-32/openai#text")
    monkeypatch.setitem(sys.modules, "open_clip", None)  # the package is not installed
    assert run(["search", "a red circle", "--store", place.store.url]) == 1
    assert (
        "needs the package open_clip, which is not installed. Run: pip install open_clip_torch"
        in capsys.readouterr().err
    )


def test_what_is_cached_needs_no_encoder(place: Place, tmp_path: Path) -> None:
    for side in ("text", "vision"):
        rename_encoder(place, f"hf:{place.root}/nowhere", side=side)
    assert embed("mine", out=tmp_path / "e.npy", store=place.store).rows == 80
    with pytest.raises(NotPresentError, match="nowhere"):
        search(image=place.photos / "001.png", store=place.store)
    with pytest.raises(NotPresentError, match="nowhere"):
        search("a circle", store=place.store, images=place.photos)
    with pytest.raises(NotPresentError, match="nowhere"):
        label("mine", classes=["a", "b"], store=place.store)


def test_a_folder_whose_encoding_was_stopped_is_encoded_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commit, stopped = ShardWriter.commit, list[str]()

    def interrupted(self: ShardWriter) -> Any:
        if not stopped:
            stopped.append("once")
            raise KeyboardInterrupt
        return commit(self)

    monkeypatch.setattr(ShardWriter, "commit", interrupted)
    command = ["search", "a red circle", "--images", str(place.photos), "--store", place.store.url, "--json"]
    assert run(command) == 130
    assert "run the same command again to go on" in capsys.readouterr().err
    assert run(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["encoder_passes"]) == (80, 1)
    assert all(features.verify() == [] for features in place.store.feature_sets(dataset=found["dataset"]))


def test_a_folder_cannot_be_encoded_into_a_store_that_cannot_be_written(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalFiles, "writable", False)
    with pytest.raises(ReadOnlyError, match="cannot be written"):
        search("a circle", store=place.store, images=place.photos)


def test_imported_features_answer_no_words(imported: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["align", "--layers", "last", "--method", "ridge", "--name", "a", "--store", imported, "--quiet"]) == 0
    assert run(["search", "a red circle", "--store", imported]) == 1
    said = capsys.readouterr().err
    assert "The text features of the aligner a were imported as bert: no encoder here reads new texts" in said


def test_an_interrupted_search_goes_on_where_it_stopped(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    embed, calls = Aligner.embed_images, list[int]()

    def interrupted(self: Aligner, features: Any, **more: Any) -> Any:
        calls.append(len(features))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return embed(self, features, **more)

    monkeypatch.setattr(Aligner, "embed_images", interrupted)
    command = ["search", "a red circle", "--store", place.store.url, "--json"]
    assert run(command) == 130
    assert "run the same command again to go on" in capsys.readouterr().err
    done = len(FeatureSet.open(place.store.files, PREFIX).markers())
    assert done == 1
    assert run(command) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 80
    assert sum(calls) == 80 + calls[1]  # the shard that was finished is not computed again


def test_a_shard_that_another_process_computes_is_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first = search("a red circle", store=place.store)
    there = FeatureSet.open(place.store.files, PREFIX)
    there.completion.remove(0)
    lease = lease_of(there, there.manifest.shards[0]).acquire()
    waited: list[int] = []

    def ended(features: FeatureSet, held: Any) -> bool:
        waited.append(len(held))
        lease.release()  # the other one stops without having finished
        return True

    monkeypatch.setattr("structure.pipeline.inference.aligned_embeddings.any_free", ended)
    assert search("a red circle", store=place.store).queries == first.queries
    assert waited == [1]
    assert FeatureSet.open(place.store.files, PREFIX).verify() == []
