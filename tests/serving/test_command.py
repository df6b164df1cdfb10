"""`structure serve`: how it begins and ends, what it says where it cannot begin, what is lacking."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from structure.cli.main import run
from structure.pipeline import serve
from structure.pipeline.inference.queries import open_side
from structure.pipeline.progress import Event, Note
from structure.store.errors import NotPresentError, UsageError
from tests.inference.conftest import Place
from tests.serving.conftest import ask, found
from tests.warm import Forked, Warm

SERVE = "import sys; from structure.cli.main import run; sys.exit(run(sys.argv[1:]))"


def url_of(process: Forked, said: Path) -> tuple[str, int]:
    """Where a server listens, once it says so."""
    deadline = time.monotonic() + 120
    while True:
        told = re.search(r"at http://([\d.]+):(\d+)", said.read_text() if said.exists() else "")
        if told:
            return told[1], int(told[2])
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(warm: Warm, photos: Place, tmp_path: Path, number: signal.Signals) -> None:
    said = tmp_path / "said"
    process = warm.start(SERVE, "serve", "--store", photos.store.url, "--port", "0", "--device", "cpu", stderr=said)
    try:
        host, port = url_of(process, said)
        idle = http.client.HTTPConnection(host, port, timeout=30)
        idle.request("GET", "/api/about")
        assert json.loads(idle.getresponse().read())["dataset"] == "mine"
        with socket.create_connection((host, port)) as unfinished:
            unfinished.sendall(b"GET / HT")
            process.send_signal(number)
            assert process.wait() == 0
        idle.close()
    finally:
        if process.poll() is None:
            process.kill()
    told = said.read_text()
    assert told.endswith("Ended.\n")
    assert "Traceback" not in told
    assert "80 images of mine, searched with ridge" in told
    with pytest.raises(OSError, match=r"refused"):
        socket.create_connection((host, port), timeout=5)


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_its_extra_one_sentence_says_what_to_type(
    package: str, photos: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert run(["serve", "--store", photos.store.url, "--port", "0"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"needs the package {package}, which is not installed. Run: pip install 'structure-align[serve]'" in told


def test_a_plan_writes_and_listens_to_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.store.files.remove_tree("embeddings")
    before = sorted(place.store.files.children(""))
    command = ["serve", "--store", place.store.url, "--dry-run", "--json", "--quiet"]
    assert run(command) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["dry_run"]
    assert [part["pending"] for part in document["parts"] if part["what"].startswith("embeddings")] == [80, 80]
    assert sorted(place.store.files.children("")) == before
    serve(store=place.store, port=0, device="cpu").close()
    assert run(command) == 0
    assert sum(part["pending"] for part in json.loads(capsys.readouterr().out)["parts"]) == 0


def test_where_it_cannot_listen(photos: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run(["serve", "--store", photos.store.url, "--port", str(taken.getsockname()[1])]) == 2
    assert "Take any port that is free with --port 0" in capsys.readouterr().err
    assert run(["serve", "--store", photos.store.url, "--port", "70000"]) == 2
    assert "--port 70000 is not between 0 and 65535" in capsys.readouterr().err
    assert run(["serve", "--store", photos.store.url, "--host", "no.such.host.invalid"]) == 2
    assert "no such host" in capsys.readouterr().err
    assert run(["serve", "--store", photos.store.url, "--aligner", "ridg", "--port", "0"]) == 1
    assert "Did you mean ridge?" in capsys.readouterr().err
    assert run(["serve", "--store", photos.store.url, "--images", ".", "--dataset", "mine"]) == 2


def test_a_host_that_lets_the_network_in_is_told(photos: Place) -> None:
    said: list[str] = []

    def listener(event: Event) -> None:
        said.extend([event.text] if isinstance(event, Note) else [])

    with serve(store=photos.store, host="0.0.0.0", port=0, device="cpu", on_event=listener) as server:
        assert any("whoever reaches this machine" in text and "no password" in text for text in said)
        assert ask(server, "/api/about", headers={"Host": "10.1.2.3:80"}).status == 200
        assert ask(server, "/api/about", headers={"Host": "evil.example"}).status == 403


def lose(place: Place, side: str) -> None:
    """The aligner's record names an encoder that is not here."""
    folder = place.store.folder("aligners", "ridge")
    record = json.loads(folder.read("aligner.json"))
    record.pop("seal", None)
    record["metadata"]["encoders"][side]["spec"] = f"hf:{place.root}/nowhere"
    folder.write("aligner.json", json.dumps(record).encode())


def test_an_aligner_without_its_encoders(place: Place) -> None:
    lose(place, "vision")
    said: list[str] = []

    def listener(event: Event) -> None:
        said.extend([event.text] if isinstance(event, Note) else [])

    with serve(store=place.store, port=0, device="cpu", on_event=listener) as server:
        assert any("nowhere" in text and text.endswith("Only words can be searched with.") for text in said)
        assert found(server, "/api/about")["queries"] == ["words"]
        assert found(server, "/api/search?q=a+red+circle&k=1")["hits"]
        assert found(server, "/api/search?like=3&k=1")["hits"][0]["row"] == 3
        answer = ask(server, "/api/search", method="POST", body=b"x")
        assert answer.status == 400
        assert "images cannot be searched with" in answer.document["error"]
    lose(place, "text")
    with pytest.raises(NotPresentError, match="nowhere"):
        serve(store=place.store, port=0, device="cpu")


def test_an_encoder_of_sounds_is_not_asked_with_images(photos: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*given: Any) -> Any:
        side = open_side(*given)
        if given[2] == "text":
            return side
        return replace(side, encoder=SimpleNamespace(modality="audio", name="clap"))  # type: ignore[arg-type]

    monkeypatch.setattr("structure.pipeline.serving.search_engine.open_side", opened)
    said: list[str] = []

    def listener(event: Event) -> None:
        said.extend([event.text] if isinstance(event, Note) else [])

    with serve(store=photos.store, port=0, device="cpu", on_event=listener) as server:
        assert found(server, "/api/about")["queries"] == ["words"]
        assert any("clap is an encoder of audio" in text for text in said)


def test_features_that_were_imported_have_no_encoder(imported: str) -> None:
    assert run(["align", "--layers", "last", "--method", "ridge", "--name", "a", "--store", imported, "--quiet"]) == 0
    with pytest.raises(NotPresentError, match="were imported"):
        serve(store=imported, port=0, device="cpu")


def test_a_folder_is_served(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "album"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes((place.photos / f"{number:03d}.png").read_bytes())
    with serve(store=place.store, images=folder, port=0, device="cpu") as server:
        about = found(server, "/api/about")
        assert about["rows"] == {"images": 3, "text": 0}
        assert about["dataset"].startswith("album")
        hits = found(server, "/api/search?q=a+red+circle")["hits"]
        assert sorted(hit["path"] for hit in hits) == ["0.png", "1.png", "2.png"]
        assert ask(server, f"/{hits[0]['file']}").body == (folder / hits[0]["path"]).read_bytes()
        assert ask(server, "/api/search?q=a&to=text").status == 400
    (folder / "1.png").unlink()
    with serve(store=place.store, images=folder, port=0, device="cpu") as server:
        assert found(server, "/api/about")["rows"]["images"] == 2
        assert ask(server, "/api/images/1/file").status == 404  # its row is still in the store
        assert "There is no image 1" in ask(server, "/api/images/1/thumbnail").document["error"]
        assert ask(server, "/api/search?like=1").status == 404
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError):
        serve(store=place.store, images=empty, port=0, host=" ", device="cpu")
