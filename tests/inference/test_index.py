"""A faiss index: as good as it says, opened without this package, grown by new rows alone, never of other values."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from structure.cli.main import run
from structure.pipeline import align, extract, index, search
from structure.pipeline.inference.index_building import measure
from structure.pipeline.inference.index_kinds import KINDS
from structure.store import StructureError
from structure.store.errors import DamageError, FingerprintError, UsageError
from tests.inference.conftest import LAYERS, MODELS, Place, write_photos
from tests.inference.test_search import WORDS, noting

faiss = pytest.importorskip("faiss")


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_finds_what_exact_search_finds(place: Place, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "index"
    done = index("mine", out=out, kind=kind, recall=1.0, store=place.store, device="cpu")
    assert (done.rows, done.added, done.encoder_passes, done.kind) == (80, 80, 0, kind)
    assert done.recall["recall_at_10"] == 1.0
    assert (done.recall["queries"], done.recall["queries_are"]) == (40, "captions of the dataset")
    exact, found = (search(WORDS, store=place.store, k=5, **more) for more in ({}, {"index": out}))
    assert found.index == str(out)
    for ours, theirs in zip(found.queries, exact.queries, strict=True):
        assert [hit.id for hit in ours.hits] == [hit.id for hit in theirs.hits]
        assert [hit.score for hit in ours.hits] == pytest.approx([hit.score for hit in theirs.hits], abs=1e-5)
        assert all(Path(hit.path).is_file() and hit.caption for hit in ours.hits)
    assert len(search(WORDS[0], store=place.store, k=200, index=out).queries[0].hits) == 80
    # without this package
    rows = pq.read_table(out / "rows.parquet").to_pylist()
    assert [row["id"] for row in rows] == [f"photos/{number:03d}.png" for number in range(80)]
    opened = faiss.read_index(str(out / "index.faiss"))
    assert (opened.ntotal, opened.d) == (80, done.dim)
    record = json.loads((out / "index.json").read_text())
    assert record["recall"] == done.recall
    assert record["splits"][0]["rows"] == 80


def test_the_command(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, where = str(tmp_path / "index"), ["--store", place.store.url]
    assert run(["index", "--dataset", "mine", "--kind", "flat", "--out", out, *where]) == 0
    said = capsys.readouterr()
    assert "recall@10" in said.out
    assert f"--index {out} 'words'" in said.err
    assert run(["search", WORDS[0], "--index", out, "-k", "2", "--json", "--quiet", *where]) == 0
    assert json.loads(capsys.readouterr().out)["index"] == out


def test_only_new_rows_are_added(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, store, said = tmp_path / "index", place.store, list[str]()
    index("mine", out=out, kind="flat", store=store)
    first = faiss.read_index(str(out / "index.faiss")).reconstruct_n(0, 80)
    write_photos(place.root, 90)
    extract(MODELS, f"pairs:{place.pairs}", store=store, layers=LAYERS, append=True)
    last = search(image=place.photos / "085.png", store=store, index=out, on_event=noting(said), k=1)
    assert last.rows == 80
    assert any("90 rows are in the store and 80 in" in text and "--append" in text for text in said)
    grown = index(out=out, append=True, store=store)
    assert (grown.rows, grown.added, grown.kind) == (90, 10, "flat")
    assert np.array_equal(faiss.read_index(str(out / "index.faiss")).reconstruct_n(0, 80), first)
    found = search(image=place.photos / "085.png", store=store, index=out, k=1)
    assert found.queries[0].hits[0].id == "photos/085.png"
    assert index(out=out, append=True, store=store).added == 0


def test_a_folder_of_images_and_captions_are_indexed(place: Place, tmp_path: Path) -> None:
    album, store = tmp_path / "album", place.store
    album.mkdir()
    for number in range(6):
        (album / f"{number}.png").write_bytes((place.photos / f"{number:03d}.png").read_bytes())
    done = index(album, out=tmp_path / "a", kind="ivf", store=store)
    assert (done.rows, done.encoder_passes, done.recall["queries_are"]) == (6, 1, "rows of the index")
    (album / "6.png").write_bytes((place.photos / "006.png").read_bytes())
    grown = index(out=tmp_path / "a", append=True, store=store)
    assert (grown.rows, grown.added, grown.encoder_passes) == (7, 1, 1)
    (album / "2.png").unlink()
    hits = search(WORDS[0], store=store, index=tmp_path / "a").queries[0].hits
    assert {hit.id: hit.file for hit in hits} == {f"{n}.png": "" if n != 2 else "removed" for n in range(7)}
    texts = index("mine", of="text", out=tmp_path / "t", kind="flat", store=store)
    assert (texts.of, texts.recall["queries_are"]) == ("text", "images of the dataset")
    exact, found = (search(WORDS[0], store=store, to="text", k=3, index=out) for out in (None, tmp_path / "t"))
    assert [hit.id for hit in found.queries[0].hits] == [hit.id for hit in exact.queries[0].hits]
    with pytest.raises(UsageError, match="is an index of text. Write --to text"):
        search(WORDS[0], store=store, index=tmp_path / "t")


def test_an_index_of_something_else_is_refused(place: Place, tmp_path: Path) -> None:
    out, store = tmp_path / "index", place.store
    index("mine", out=out, store=store)
    with pytest.raises(StructureError, match=r"is there and not empty. Add new rows to its index with --append"):
        index("mine", out=out, store=store)
    with pytest.raises(UsageError, match=r"--kind flat: .* is an index with --kind hnsw"):
        index(out=out, append=True, kind="flat", store=store)
    with pytest.raises(StructureError, match=r"nowhere has no index. Make one"):
        index(out=tmp_path / "nowhere", append=True, store=store)
    align("last", store=store, method="csa", regulariser="none", dim=6, name="other")
    with pytest.raises(UsageError, match="was made with the aligner ridge. Leave out --aligner"):
        search("a circle", store=store, index=out, aligner="other")
    record = json.loads((out / "index.json").read_text())
    del record["seal"]  # of an earlier version
    table = pq.read_table(out / "rows.parquet")
    swapped = table.set_column(2, "id", [table["id"].to_pylist()[1::-1] + table["id"].to_pylist()[2:]])
    _write(out, "rows.parquet", lambda path: pq.write_table(swapped, path))
    with pytest.raises(FingerprintError, match=r"row 0 of mine/all was 'photos/001.png' when it was indexed, and is"):
        index(out=out, append=True, store=store)
    (out / "index.json").write_text(json.dumps(record))
    with pytest.raises(DamageError, match=r"rows.parquet"):
        index(out=out, append=True, store=store)
    _write(out, "rows.parquet", lambda path: pq.write_table(table, path))
    align("last", store=store, method="csa", regulariser="none", dim=6, name="ridge", replace=True)
    for work in (lambda: search("a circle", store=store, index=out), lambda: index(out=out, append=True, store=store)):
        with pytest.raises(FingerprintError, match=r"an index of something else: alignment.run of mine/all/scenes-vit"):
            work()


def _write(out: Path, name: str, write: Any) -> None:
    """Another file in the place of one of an index, with its size and digest on the record."""
    import hashlib

    write(out / name)
    record, data = json.loads((out / "index.json").read_text()), (out / name).read_bytes()
    record.pop("seal", None)
    record["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (out / "index.json").write_text(json.dumps(record))


def test_damage_is_found(place: Place, tmp_path: Path) -> None:
    out, store = tmp_path / "index", place.store
    index("mine", out=out, kind="flat", store=store)
    whole = (out / "index.faiss").read_bytes()
    (out / "index.faiss").write_bytes(whole[:-40])
    with pytest.raises(DamageError, match=r"index.faiss has .* bytes and .* were written"):
        search("a circle", store=store, index=out)
    (out / "index.faiss").write_bytes(whole[:100] + b"\1" + whole[101:])
    for work in (lambda: index(out=out, append=True, store=store), lambda: search("a circle", store=store, index=out)):
        with pytest.raises(DamageError, match=r"its bytes have changed .* structure index --dataset mine --aligner"):
            work()
    (out / "index.faiss").write_bytes(whole)
    rows = (out / "rows.parquet").read_bytes()
    (out / "rows.parquet").write_bytes(rows[:60] + bytes([rows[60] ^ 1]) + rows[61:])
    with pytest.raises(DamageError, match=r"rows.parquet: its bytes have changed"):
        search("a circle", store=store, index=out)
    (out / "index.json").write_text("{")
    with pytest.raises(DamageError, match=r"index.json does not read"):
        search("a circle", store=store, index=out)


def test_a_stopped_run_leaves_nothing_half_written(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "index"
    monkeypatch.setattr("structure.pipeline.inference.index_folder._digest", _interrupted)
    assert run(["index", "--dataset", "mine", "--out", str(out), "--store", place.store.url]) == 130
    assert not (out / "index.json").exists()
    with pytest.raises(StructureError, match="has no index"):
        search("a circle", store=place.store, index=out)
    monkeypatch.undo()
    assert index("mine", out=out, store=place.store).rows == 80  # the same command again


def _interrupted(path: Path) -> str:
    raise KeyboardInterrupt


def test_without_faiss_one_sentence_says_what_to_type(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert run(["index", "--dataset", "mine", "--out", str(tmp_path / "index"), "--store", place.store.url]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert said.endswith("the package faiss-cpu, which is not installed. Run: pip install 'structure-align[index]'")
    assert not (tmp_path / "index").exists()


def test_recall_is_measured_with_queries_that_did_not_choose_the_effort() -> None:
    """Against recall counted row by row, on rows where little effort finds little."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((600, 16)).astype(np.float16)
    rows /= np.linalg.norm(rows.astype(np.float32), axis=1, keepdims=True).astype(np.float16)
    queries = random.standard_normal((40, 16)).astype(np.float32)
    gallery: Any = _InMemory(rows)
    kind = KINDS["ivf"]
    built = kind.make(16, 600)
    built.train(rows.astype(np.float32))
    built.add(rows.astype(np.float32))
    everything = np.arange(600)
    efforts = [measure(kind, built, gallery, everything, queries, are="", target=target) for target in (0.2, 1.0)]
    (low, poor), (high, best) = efforts
    assert low is not None
    assert high is not None
    assert low < high
    assert best.recall_at_10 == 1.0
    kind.spend(built, low)
    _, found = built.search(queries[::2], 10)
    exact = np.argsort(-(queries[::2] @ rows.astype(np.float32).T), axis=1)[:, :10]
    hit = [len(set(ours) & set(theirs)) / 10 for ours, theirs in zip(found.tolist(), exact.tolist(), strict=True)]
    assert poor.recall_at_10 == pytest.approx(np.mean(hit))
    assert poor.queries == 20


class _InMemory:
    """A gallery of an array."""

    largest = 1.01

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape = values, values.shape

    def __len__(self) -> int:
        return len(self.values)

    def pieces(self, start: int, stop: int) -> list[np.ndarray]:
        return [self.values[start:stop]]
