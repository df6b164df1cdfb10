"""Search from cached features: the right rows, the state of their files, folders, pages, mistakes."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from structure.cli.main import run
from structure.pipeline import AlignedModel, align, extract, search
from structure.pipeline.exports.side import ExportedSide
from structure.pipeline.extraction import stored_or_extracted
from structure.pipeline.inference.embedding_records import prefix_of
from structure.pipeline.progress import Event, Listener, Note
from structure.store import FeatureSet, StructureError
from structure.store.errors import BadSampleError, UsageError
from structure.store.local_files import LocalFiles
from tests.inference.conftest import LAYERS, MODELS, Place, write_photos

WORDS = ["a red circle", "two blue squares"]
PREFIX = prefix_of("ridge", "mine/all/scenes-vit")


def noting(said: list[str]) -> Listener:
    """A listener that collects notes."""

    def listen(event: Event) -> None:
        said.extend([event.text] if isinstance(event, Note) else [])

    return listen


def expected(place: Place, aligner: str, queries: list[str], side: str = "vision") -> np.ndarray:
    """(queries, rows) scores as the aligner gives them, in float64."""
    model = AlignedModel.load(place.store, aligner, device="cpu")
    key = "scenes-vit" if side == "vision" else "scenes-text"
    features = place.store[f"mine/all/{key}"]
    layer = model.aligner.metadata["layers"][side]
    embed = model.aligner.embed_images if side == "vision" else model.aligner.embed_texts
    gallery = np.asarray(embed(features.rows(layer).astype(np.float32)))
    return np.asarray(model.aligner.similarity(gallery, model.encode_texts(queries))).T


def test_words_find_images_from_cached_features(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    scores = expected(place, "ridge", WORDS)
    found = search(WORDS, store=place.store, k=5, device="cpu")
    assert (found.aligner, found.dataset, found.rows, found.encoder_passes) == ("ridge", "mine", 80, 0)
    for row, answer in zip(scores, found.queries, strict=True):
        assert [hit.score for hit in answer.hits] == pytest.approx(np.sort(row)[::-1][:5], abs=3e-4)  # float16 rows
        assert [row[int(hit.path[-7:-4])] for hit in answer.hits] == pytest.approx(np.sort(row)[::-1][:5], abs=6e-4)
        assert all(hit.file == "" and Path(hit.path).is_file() and hit.caption for hit in answer.hits)
    assert run(["search", *WORDS, "-k", "5", "--store", place.store.url, "--json", "--quiet"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [q["query"] for q in document["queries"]] == WORDS
    assert [hit["id"] for hit in document["queries"][0]["hits"]] == [hit.id for hit in found.queries[0].hits]
    assert run(["search", WORDS[0], "-k", "2", "--store", place.store.url]) == 0
    assert re.search(r"rank +score +id +caption +path", capsys.readouterr().out)


def test_only_the_text_encoder_is_loaded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, threads = list[str](), set[int]()
    load, embed = stored_or_extracted.load_encoder, ExportedSide._read

    def spied(spec: str, **more: Any) -> Any:
        loaded.append(spec)
        return load(spec, **more)

    def counted(self: ExportedSide, examples: Any) -> Any:
        threads.add(torch.get_num_threads())
        return embed(self, examples)

    monkeypatch.setattr(stored_or_extracted, "load_encoder", spied)
    monkeypatch.setattr(ExportedSide, "_read", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        search("a red circle", store=place.store)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert loaded == ["bundled:scenes-text"]
    assert threads == {1}  # for a query alone, threads would wait for each other longer than they compute


def test_an_image_finds_itself_and_texts_are_found(place: Place) -> None:
    found = search(image=place.photos / "007.png", store=place.store, k=1)
    assert found.queries[0].hits[0].path.endswith("007.png")
    assert found.queries[0].hits[0].score == pytest.approx(1, abs=1e-3)
    scores = expected(place, "ridge", WORDS, "text")
    texts = search(WORDS, store=place.store, to="text", k=3)
    for row, answer in zip(scores, texts.queries, strict=True):
        assert [hit.score for hit in answer.hits] == pytest.approx(np.sort(row)[::-1][:3], abs=3e-4)
        assert all(hit.id.endswith("#0") for hit in answer.hits)


def test_scores_are_the_aligners_own(place: Place) -> None:
    """The weighted similarity of CSA is a cosine of its embeddings, and so it is here."""
    align("last", store=place.store, method="csa", weighted=True, regulariser="none", dim=8, name="weighted")
    scores = expected(place, "weighted", WORDS)
    found = search(WORDS, store=place.store, aligner="weighted", k=4)
    for row, answer in zip(scores, found.queries, strict=True):
        assert [hit.score for hit in answer.hits] == pytest.approx(np.sort(row)[::-1][:4], abs=5e-4)


def test_files_that_are_gone_moved_or_changed_are_told_row_by_row(place: Place) -> None:
    names = [f"{number:03d}.png" for number in (1, 2, 3)]
    (place.photos / names[0]).unlink()
    (place.photos / "inner").mkdir()
    (place.photos / names[1]).rename(place.photos / "inner" / names[1])
    Image.new("RGB", (9, 9)).save(place.photos / names[2])
    os.utime(place.photos / "004.png", (1, 1))  # touched, and the same
    # the table lies elsewhere than when it was extracted: it is found below the data root
    found = search("a red circle", store=place.store, dataset=f"pairs:{place.pairs}", k=80)
    state = {Path(hit.path).name: (hit.file, hit.path) for hit in found.queries[0].hits}
    assert state[names[0]] == ("missing", str(place.photos / names[0]))
    assert state[names[1]] == ("moved", str(place.photos / "inner" / names[1]))
    assert state[names[2]][0] == "changed"
    assert state["004.png"][0] == ""


def test_a_folder_is_encoded_once_and_grows(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "album"
    (folder / "deep").mkdir(parents=True)
    for number in range(6):
        (folder / ("deep" if number % 2 else "") / f"{number}.png").write_bytes(
            (place.photos / f"{number:03d}.png").read_bytes()
        )
    (folder / "notes.txt").write_text("no image")
    store = place.store
    said: list[str] = []
    first = search("a red circle", store=store, images=folder, k=9, on_event=noting(said))
    assert (first.rows, first.encoder_passes, len(first.queries[0].hits)) == (6, 1, 6)
    assert any("1 file that is no image" in text for text in said)
    again = search("a red circle", store=store, images=folder, k=9)
    assert again.encoder_passes == 0
    assert again.queries == first.queries
    (folder / "0.png").unlink()
    (folder / "2.png").write_bytes((place.photos / "020.png").read_bytes())
    (folder / "a.png").write_bytes((place.photos / "021.png").read_bytes())
    grown = search(image=place.photos / "020.png", store=store, images=folder, k=9)
    assert (grown.rows, grown.encoder_passes) == (6, 1)  # one gone, one new, one changed
    assert {Path(hit.path).name for hit in grown.queries[0].hits} == {
        "a.png",
        "1.png",
        "2.png",
        "3.png",
        "4.png",
        "5.png",
    }
    assert grown.queries[0].hits[0].path.endswith("/2.png")
    assert {hit.file for hit in grown.queries[0].hits} == {""}


def test_embeddings_are_written_once_grow_and_are_never_stale(place: Place) -> None:
    store = place.store
    search("a red circle", store=store)
    prefix = PREFIX
    before = {key: store.files.modified(key) for key in store.files.keys(prefix)}
    search("a blue circle", store=store)
    assert before == {key: store.files.modified(key) for key in store.files.keys(prefix)}
    assert FeatureSet.open(store.files, prefix).verify() == []

    write_photos(place.root, 90)
    extract(MODELS, f"pairs:{place.pairs}", store=store, layers=LAYERS, append=True)
    found = search(image=place.photos / "085.png", store=store, dataset="mine", k=1)
    assert found.rows == 90
    assert found.queries[0].hits[0].id.endswith("085.png")
    kept = [key for key, time in before.items() if "/aligned/" in key and time == store.files.modified(key)]
    assert kept  # full shards are not computed again

    align("last", store=store, method="csa", regulariser="none", dim=6, name="ridge", replace=True)
    assert search("a red circle", store=store).queries[0].hits[0].score == pytest.approx(
        expected(place, "ridge", ["a red circle"]).max(), abs=5e-4
    )


def test_damaged_embeddings_are_computed_again(place: Place) -> None:
    store, said = place.store, list[str]()
    first = search("a red circle", store=store)
    prefix = prefix_of("ridge", "mine/all/scenes-vit")
    chunk = next(key for key in store.files.keys(prefix) if "/aligned/c/" in key)
    data = bytearray(store.files.read(chunk))
    data[3] ^= 0x40
    store.files.write(chunk, bytes(data))

    again = search("a red circle", store=store, on_event=noting(said))
    assert again.queries == first.queries
    assert any("bytes have changed. The embeddings are computed again." in text for text in said)


def test_a_store_that_cannot_be_written_is_searched(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    store, said = place.store, list[str]()
    first = search("a red circle", store=store)
    monkeypatch.setattr(LocalFiles, "writable", False)
    chunk = next(key for key in store.files.keys("embeddings") if "/aligned/c/" in key)
    Path(store.url, chunk).write_bytes(b"\1" + store.files.read(chunk)[1:])
    assert search("a red circle", store=store, on_event=noting(said)).queries == first.queries
    assert any("bytes have changed. The embeddings are computed again." in text for text in said)
    shutil.rmtree(Path(store.url) / "embeddings")
    said.clear()
    assert search("a red circle", store=store, on_event=noting(said)).queries == first.queries
    assert any(f"cannot be written: {PREFIX}, computed in memory, is not saved." in text for text in said)
    assert not (place.root / "store" / "embeddings").exists()


def test_the_page_is_self_contained_and_escapes_what_the_data_say(place: Place, tmp_path: Path) -> None:
    out, query = tmp_path / "found.html", '<script>alert("x")</script> & circles'
    search(["a red circle", query], image=place.photos / "001.png", store=place.store, k=3, out=out)
    page = out.read_text()
    assert page.count("data:image/jpeg;base64,") == 10  # nine answers and the query image
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt; &amp; circles" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "default-src &#39;none&#39;" in page


def test_mistakes_are_told(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = place.store
    with pytest.raises(UsageError, match=r"Query 2 of 2 is empty. Write what the images show"):
        search(["a circle", "  "], store=store)
    with pytest.raises(UsageError, match="Say what to look for"):
        search(store=store)
    with pytest.raises(StructureError, match=r"Unknown aligner 'rige'. Did you mean ridge\?"):
        search("a circle", store=store, aligner="rige")
    with pytest.raises(StructureError, match=r"Unknown dataset 'mime'. Did you mean mine"):
        search("a circle", store=store, dataset="mime")
    with pytest.raises(StructureError, match=r"Unknown split 'tset'.*in .*store"):
        search("a circle", store=store, dataset="mine", split="tset")
    with pytest.raises(UsageError, match="Name one"):
        search("a circle", store=store, dataset="mine", images=tmp_path)
    (tmp_path / "bare").mkdir()
    with pytest.raises(StructureError, match=r"has no image at any depth \(no file\)"):
        search("a circle", store=store, images=tmp_path / "bare")
    with pytest.raises(StructureError, match=r"The folder .*nowhere is not there"):
        search("a circle", store=store, images=tmp_path / "nowhere")
    with pytest.raises(BadSampleError, match=r"there is no file"):
        search(image=tmp_path / "no.png", store=store)
    with pytest.raises(UsageError, match="a folder has none"):
        search("a circle", store=store, images=place.photos, scores="csls")
    assert run(["search", "", "--store", store.url]) == 2
    assert run(["search", "a circle", "--scores", "clss", "--store", store.url]) == 2
    assert "Did you mean csls?" in capsys.readouterr().err
    assert run(["search", "a circle", "--store", str(tmp_path / "empty")]) == 1
    assert "has no aligner" in capsys.readouterr().err


def test_a_query_that_is_too_long_is_cut_and_told(place: Place) -> None:
    said: list[str] = []
    found = search("a red circle and " * 2000, store=place.store, on_event=noting(said), k=1)
    assert len(found.queries[0].hits) == 1
    assert any("is longer than" in text and text.endswith("tokens and was cut") and len(text) < 200 for text in said)


def test_features_that_are_gone_are_told(place: Place) -> None:
    place.store.files.remove_tree("features/mine")
    with pytest.raises(StructureError, match=r"no features of images by scenes-vit.* --dataset D, or --images DIR"):
        search("a circle", store=place.store)
    with pytest.raises(StructureError, match=r"Unknown dataset 'mine'"):
        search("a circle", store=place.store, dataset="mine")
    again = search("a circle", store=place.store, dataset=f"pairs:{place.pairs}")
    assert (again.rows, again.encoder_passes) == (80, 1)


def test_a_query_in_another_script_is_told(place: Place) -> None:
    said: list[str] = []
    search("красный круг", store=place.store, on_event=noting(said))
    assert any("is in Cyrillic letters" in text and "are in Latin ones" in text for text in said)


def test_csls_scores_are_corrected_by_the_datasets_captions(place: Place) -> None:
    plain = search(WORDS, store=place.store, k=80).queries
    images = [place.photos / f"{number:03d}.png" for number in range(80)]
    texts = search(image=images, store=place.store, to="text", k=11).queries
    near = {}  # of each image the mean over its ten nearest captions, its own left out
    for number, answer in enumerate(texts):
        own = f"photos/{number:03d}.png"
        near[own] = np.mean([hit.score for hit in answer.hits if hit.sample != own][:10])
    found = search(WORDS, store=place.store, k=80, scores="csls").queries
    for cosine, csls in zip(plain, found, strict=True):
        own = np.mean([hit.score for hit in cosine.hits[:10]])
        expected = {hit.id: 2 * hit.score - own - near[hit.id] for hit in cosine.hits}
        assert [hit.score for hit in csls.hits] == pytest.approx([expected[hit.id] for hit in csls.hits], abs=2e-3)
        assert [hit.score for hit in csls.hits] == sorted((hit.score for hit in csls.hits), reverse=True)
