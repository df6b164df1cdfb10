"""What a hub may answer, from a server on loopback: gated weights, a model that is not there, no weights, an outage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from structure.pipeline.encoders import load_encoder
from structure.store.errors import NotPresentError, StructureError

Answer = Callable[[int, str, object], None]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Answer]:
    """`hub(status, error code, body)` sets what the server answers to everything but the first knock."""
    from huggingface_hub import constants

    answer: list[tuple[int, str, object]] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            status, code, body = answer[0]
            data = json.dumps(body).encode()
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hub)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)

    def set_answer(status: int, code: str, body: object) -> None:
        answer[:] = [(status, code, body)]

    yield set_answer
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("status", [401, 403])
def test_gated_weights_are_told_with_where_to_accept(hub: Answer, status: int) -> None:
    hub(status, "GatedRepo", {"error": "Access to model meta-llama/Meta-Llama-3-8B is restricted"})
    with pytest.raises(NotPresentError, match=r"is gated: .*huggingface.co/meta-llama/.*`hf auth login`"):
        load_encoder("llama3-8b")


def test_a_model_that_the_hub_does_not_know_is_told(hub: Answer) -> None:
    hub(401, "RepoNotFound", {"error": "Repository not found"})
    with pytest.raises(NotPresentError, match=r"knows no model nobody/nothing .*Check the spelling"):
        load_encoder("hf:nobody/nothing")


def test_a_repository_without_weights_that_are_read_is_told(hub: Answer) -> None:
    files = [{"rfilename": name} for name in ("config.json", "tf_model.h5")]
    hub(200, "", {"_id": "0", "id": "some/model", "siblings": files})
    with pytest.raises(StructureError, match=r"some/model holds none of model.safetensors, .*safetensors weights"):
        load_encoder("hf:some/model")


def test_an_outage_says_where_the_files_may_be_placed(hub: Answer) -> None:
    hub(500, "", {"error": "down"})
    with pytest.raises(NotPresentError, match=r"the download failed .*hf download some/model"):
        load_encoder("hf:some/model")
