"""The store's own commands know aligned embeddings: listed, counted, checked, removed when they are stale."""

from __future__ import annotations

import json

import pytest

from structure.cli.main import run
from structure.pipeline import align, search
from structure.pipeline.inference.embedding_records import prefix_of
from structure.store.lease import Lease
from tests.inference.conftest import Place

PREFIX = prefix_of("ridge", "mine/all/scenes-vit")


def asked(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> dict:
    capsys.readouterr()
    assert run([*command, "--json"]) == code
    return dict(json.loads(capsys.readouterr().out))


def test_embeddings_are_listed_counted_and_checked(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    at = ("--store", place.store.url)
    search("a red circle", store=place.store)
    (row,) = asked(capsys, "store", "ls", *at)["embeddings"]
    assert (row["embeddings"], row["rows"], row["state"]) == (PREFIX, 80, "complete")
    assert asked(capsys, "store", "du", *at)["bytes"]["embeddings/ridge"] > 80 * row["width"] * 2
    assert asked(capsys, "store", "verify", *at)["faults"][PREFIX] == []
    assert asked(capsys, "store", "gc", *at)["orphans"] == []
    files = place.store.files
    chunk = next(key for key in files.keys(PREFIX) if "/aligned/c/" in key)
    files.write(chunk, b"\x01" + files.read(chunk)[1:])
    (fault,) = asked(capsys, "store", "verify", *at, code=1)["faults"][PREFIX]
    assert "its bytes have changed" in fault
    assert run(["store", "verify", *at]) == 1
    assert "1 with faults; the next search computes them again" in capsys.readouterr().err
    search("a red circle", store=place.store)
    assert asked(capsys, "store", "verify", *at)["faults"][PREFIX] == []


def test_leases_of_processes_that_have_ended_are_orphans(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    store, at = place.store, ("--store", place.store.url)
    search("a red circle", store=store)
    (features,) = (key for key in store if key.endswith("scenes-vit"))
    ended = [f"{PREFIX}/claims/000000.json", f"features/{features}/claims/000000.json"]
    for key in ended:
        store.files.write(key, b"of a process that was killed")
    with Lease(store.files, f"{PREFIX}/claims/000001.json", what="a shard") as held:
        assert [orphan["what"] for orphan in asked(capsys, "store", "gc", *at, code=1)["orphans"]] == sorted(ended)[
            ::-1
        ]
        asked(capsys, "store", "gc", *at, "--yes")
        assert store.files.keys(f"{PREFIX}/claims") == [held.key]
    assert not store.files.exists(ended[1])


def test_stale_embeddings_are_orphans(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    store, at = place.store, ("--store", place.store.url)
    search("a red circle", store=store)
    align("last", store=store, method="csa", regulariser="none", dim=6, name="ridge", replace=True)
    (orphan,) = asked(capsys, "store", "gc", *at, code=1)["orphans"]
    assert (orphan["what"], orphan["why"]) == (f"{PREFIX}/", "aligned embeddings by an earlier aligner ridge")
    (row,) = asked(capsys, "store", "ls", *at)["embeddings"]
    assert row["state"] == "stale"
    assert asked(capsys, "store", "gc", *at, "--yes")["removed"]
    assert store.files.keys("embeddings") == []
    search("a red circle", store=store)
    store.files.remove_tree("aligners/ridge")
    (orphan,) = asked(capsys, "store", "gc", *at, code=1)["orphans"]
    assert orphan["why"] == "aligned embeddings by ridge, which is not there"
