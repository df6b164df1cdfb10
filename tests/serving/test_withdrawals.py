"""A server that runs while samples are withdrawn from its store."""

from __future__ import annotations

import os

import pytest

from structure.pipeline import serve
from structure.pipeline.run_context import RunContext
from structure.pipeline.stages.drop_items import DropItemsRequest
from structure.pipeline.stages.drop_items import run as drop
from tests.inference.conftest import Place
from tests.serving.conftest import ask, found


def test_a_withdrawn_sample_is_found_and_shown_no_longer(place: Place) -> None:
    with serve(store=place.store, port=0, device="cpu") as server:
        query = "/api/search?q=a+red+circle&k=80"
        before = found(server, query)
        first, second = before["hits"][:2]
        words = found(server, f"{query}&to=text")["hits"]
        assert ask(server, f"/{first['thumbnail']}").status == 200  # it is in memory now
        drop(DropItemsRequest(first["split"].split("/")[0], ids=[first["id"]]), RunContext.of(place.store))
        assert ask(server, f"/{first['thumbnail']}").status == 404
        assert ask(server, f"/{first['file']}").status == 404
        assert ask(server, f"/api/search?like={first['row']}&k=3").status == 404
        after = found(server, query)
        assert [hit["id"] for hit in after["hits"]] == [hit["id"] for hit in before["hits"][1:]]
        assert [hit["score"] for hit in after["hits"]] == [hit["score"] for hit in before["hits"][1:]]
        assert after["rows"] == before["rows"] - 1 == found(server, "/api/about")["rows"]["images"]
        assert first["id"] not in {hit["id"].rpartition("#")[0] for hit in found(server, f"{query}&to=text")["hits"]}
        assert len(found(server, f"{query}&to=text")["hits"]) == len(words) - 1
        assert ask(server, f"/{second['thumbnail']}").status == 200


def test_where_the_sample_index_is_gone_nothing_of_it_is_shown(place: Place) -> None:
    with serve(store=place.store, port=0, device="cpu") as server:
        hit = found(server, "/api/search?q=a+red+circle&k=1")["hits"][0]
        store = place.store
        for key in store.files.keys("samples"):
            store.files.remove(key)
        assert ask(server, f"/{hit['file']}").status == 404
        assert found(server, "/api/search?q=a+red+circle&k=1")["hits"] == []


@pytest.mark.parametrize("lost", ["moved", "not mounted", "damaged"])
def test_a_store_that_was_away_for_a_moment_is_searched_again(place: Place, lost: str) -> None:
    """Nothing is shown while it is away, because nobody knows what is withdrawn meanwhile."""
    query, folder, away = "/api/search?q=a+red+circle&k=3", place.root / "store", place.root / "away"
    with serve(store=place.store, port=0, device="cpu") as server:
        before = found(server, query)["hits"]
        (index,) = (folder / "samples").rglob("*.parquet")
        content, stamp = index.read_bytes(), index.stat()
        if lost == "damaged":
            index.write_bytes(content[:-20])
        else:
            folder.rename(away)
        if lost == "not mounted":
            folder.mkdir()
        for path in (query, "/api/search?like=0", "/api/about", f"/{before[0]['file']}", f"/{before[0]['thumbnail']}"):
            answer = ask(server, path)
            assert answer.status == 503
            assert "it is not known what was withdrawn" in answer.document["error"]
            assert str(place.root) not in answer.document["error"]
        if lost == "damaged":
            index.write_bytes(content)
            os.utime(index, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 10**9))
        if lost == "not mounted":
            folder.rmdir()
        if lost != "damaged":
            away.rename(folder)
        assert found(server, query)["hits"] == before
        assert ask(server, f"/{before[0]['file']}").status == 200
